//! What `aegis routes` prints.

use serde::Serialize;

/// One row of the route table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// As the router computed it.
    pub specificity: i64,
    /// Beats specificity when set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<i64>,
    /// Empty = every method.
    pub methods: Vec<String>,
    /// Empty = every host.
    pub hosts: Vec<String>,
    /// As written.
    pub pattern: String,
    /// Name of the backend.
    pub backend: String,
    /// Refused with 403, whoever asks.
    pub deny: bool,
}

/// The rows as aligned columns with a heading, in the order given.
pub fn table(rows: &[Row]) -> String {
    let heading = ["SPECIFICITY", "METHODS", "HOSTS", "PATTERN", "BACKEND"].map(str::to_owned);
    let any = |list: &[String]| if list.is_empty() { "*".to_owned() } else { list.join(",") };
    let cells = |row: &Row| {
        let specificity = match row.priority {
            Some(priority) => format!("{} (priority {priority})", row.specificity),
            None => row.specificity.to_string(),
        };
        let backend = if row.deny { format!("{} (deny)", row.backend) } else { row.backend.clone() };
        [specificity, any(&row.methods), any(&row.hosts), row.pattern.clone(), backend]
    };
    let lines: Vec<[String; 5]> = std::iter::once(heading).chain(rows.iter().map(cells)).collect();
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths = [0, 1, 2, 3, 4].map(width);
    let text = |line: &[String; 5]| {
        let cells = line.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}  "));
        cells.collect::<String>().trim_end().to_owned() + "\n"
    };
    lines.iter().map(text).collect()
}
