//! `aegis migrate`: applies, shows or undoes the migrations of the metrics store, which are built in.

use super::{complain, say};
use crate::config::{Source, load_with};
use crate::store::{Applied, Database, Options, Order, Store, StoreError};
use crate::supervisor::validate;

/// Migrates the store at `store`, or the configuration's. The exit code is 0 when the order was carried out, 1 when it was
/// not, 2 when `store` cannot be a store; why not goes to stderr.
pub fn run(source: &Source, store: Option<String>, order: Order) -> i32 {
    let url = match store {
        Some(url) => url,
        None => match configured(source) {
            Ok(url) => url,
            Err(why) => {
                complain(why);
                return 1;
            }
        },
    };
    // Nothing in the background, and nothing that waits for this command's own migrations.
    let options = Options { maintain_every: None, auto_migrate: false, ..Options::default() };
    let outcome = Store::open(&url, options).and_then(|store| Ok((store.migrate(order)?, store)));
    match outcome {
        Ok((applied, store)) => {
            say(report(&applied, order, store.database()).trim_end());
            0
        }
        // Without a configuration's line to point at.
        Err(StoreError::Url(why)) => {
            complain(format_args!("--store cannot be used: {why}"));
            2
        }
        Err(error) => {
            complain(error);
            1
        }
    }
}

/// `metrics.store` of a configuration.
fn configured(source: &Source) -> Result<String, String> {
    let loaded = load_with(source, validate).map_err(|problems| problems.to_string())?;
    let store = loaded.settings.metrics.store;
    store.map(|database| database.url()).ok_or_else(|| {
        "`metrics.store` is `none`: there is nothing to migrate; name a store with --store".to_owned()
    })
}

fn report(applied: &Applied, order: Order, database: &Database) -> String {
    use std::fmt::Write as _;
    let mut out = String::new();
    let count = |n: usize| if n == 1 { "1 migration".to_owned() } else { format!("{n} migrations") };
    match order {
        Order::Status => {
            for (name, applied) in &applied.all {
                let _ = writeln!(out, "{} {name}", if *applied { "applied" } else { "pending" });
            }
            let _ = writeln!(out, "{database}: {} pending", count(applied.pending().len()));
        }
        Order::Run => {
            for name in &applied.done {
                let _ = writeln!(out, "applied {name}");
            }
            let _ = match applied.done.len() {
                0 => writeln!(out, "{database}: nothing to do, every migration is applied"),
                n => writeln!(out, "{database}: {} applied", count(n)),
            };
        }
        Order::Revert => match applied.done.first() {
            Some(name) => {
                let _ = writeln!(
                    out,
                    "undone {name}\n{database}: {} applied",
                    count(applied.all.len() - applied.pending().len())
                );
            }
            None => {
                let _ = writeln!(out, "{database}: nothing to undo, no migration is applied");
            }
        },
    }
    for version in &applied.unknown {
        let _ = writeln!(out, "applied by a newer version of aegis: {version}");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_is_told_in_lines() {
        let database = Database::parse("postgres://u:hunter2@h/d").unwrap();
        let all = |applied: [bool; 2]| ["1_a", "2_b"].map(str::to_owned).into_iter().zip(applied).collect();
        let run = Applied { done: vec!["2_b".into()], all: all([true, true]), unknown: vec!["9".into()] };
        let text =
            "applied 2_b\npostgres://h/d: 1 migration applied\napplied by a newer version of aegis: 9\n";
        assert_eq!(report(&run, Order::Run, &database), text);
        let idle = Applied { all: all([true, true]), ..Applied::default() };
        assert_eq!(
            report(&idle, Order::Run, &database),
            "postgres://h/d: nothing to do, every migration is applied\n"
        );
        assert_eq!(
            report(&idle, Order::Status, &database),
            "applied 1_a\napplied 2_b\npostgres://h/d: 0 migrations pending\n"
        );
        let back = Applied { done: vec!["2_b".into()], all: all([true, false]), ..Applied::default() };
        assert_eq!(
            report(&back, Order::Revert, &database),
            "undone 2_b\npostgres://h/d: 1 migration applied\n"
        );
        let none = Applied { all: all([false, false]), ..Applied::default() };
        assert_eq!(
            report(&none, Order::Revert, &database),
            "postgres://h/d: nothing to undo, no migration is applied\n"
        );
    }
}
