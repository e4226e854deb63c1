//! `aegis routes`: the compiled route table, most specific first.

use super::{complain, say};
use crate::config::listing::{Row, table};
use crate::config::{Settings, Source, load_with};
use crate::supervisor::{RouteNumbers, compile, validate};

/// Prints the table; the exit code is 1 when the configuration is refused, whose problems go to stderr.
pub fn run(source: &Source, json: bool) -> i32 {
    let loaded = match load_with(source, validate) {
        Ok(loaded) => loaded,
        Err(problems) => {
            complain(problems);
            return 1;
        }
    };
    let rows = rows(&loaded.settings);
    let text = if json { format!("{:#}", serde_json::json!(rows)) } else { table(&rows) };
    say(text.trim_end());
    0
}

fn rows(settings: &Settings) -> Vec<Row> {
    // What does not compile was refused by validation already.
    let Ok(router) = compile(settings) else { return Vec::new() };
    let row = |route: &crate::router::CompiledRoute<RouteNumbers>| {
        let (backend, number) = *route.payload();
        let backend = &settings.backends[backend];
        let settings = &backend.routes[number];
        Row {
            specificity: route.specificity(),
            priority: settings.priority,
            methods: settings.methods.clone(),
            hosts: settings.hosts.clone(),
            pattern: settings.path.clone(),
            backend: backend.name.clone(),
            deny: settings.deny,
        }
    };
    router.routes().map(row).collect()
}
