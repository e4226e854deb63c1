//! Byte offsets to lines and columns.

use std::cell::Cell;

use aegis_schema::tree::Pos;

/// The line starts of a text.
pub(super) struct Lines<'t> {
    text: &'t str,
    starts: Vec<usize>,
    /// The last answer: (line index, offset, column). A minified file is one long line, and counting its
    /// columns from the start each time would be quadratic.
    last: Cell<(usize, usize, usize)>,
}

impl<'t> Lines<'t> {
    /// Finds the lines of `text`.
    pub fn new(text: &'t str) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { text, starts, last: Cell::new((0, 0, 1)) }
    }

    /// Where the byte at `offset` is.
    pub fn pos(&self, offset: usize) -> Pos {
        let offset = offset.min(self.text.len());
        let line = self.starts.partition_point(|start| *start <= offset).saturating_sub(1);
        let start = self.starts.get(line).copied().unwrap_or(0);
        let (last_line, last_offset, last_column) = self.last.get();
        let (from, base) =
            if last_line == line && last_offset <= offset { (last_offset, last_column) } else { (start, 1) };
        let column = base + self.text.get(from..offset).map_or(0, |part| part.chars().count());
        self.last.set((line, offset, column));
        Pos { line: line + 1, column }
    }
}
