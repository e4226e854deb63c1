//! What waits for a ledger that is away.

use crate::alerts::journal::{Journal, Write};
use crate::alerts::{Push, Told};

fn pushed(alert: &str, webhook: &str, attempts: u32) -> Write {
    Write::Pushed(Push { attempts, ..Push::new(alert, webhook) })
}

fn told(alert: &str) -> Write {
    Write::Pushed(Push { told: Some(Told::Fired), ..Push::new(alert, "ops") })
}

/// Everything that waits, in order.
fn drain(mut journal: Journal) -> Vec<Write> {
    std::iter::from_fn(|| {
        journal.begin()?;
        journal.end(false)
    })
    .collect()
}

#[test]
fn of_each_push_only_the_newest_waits() {
    let mut journal = Journal::default();
    let hold = || Write::Hold { alert: "1".into() };
    assert!(journal.push(pushed("0", "ops", 1)) && journal.push(hold()));
    // Far more than there is room for.
    for attempts in 0..20_000 {
        for (alert, webhook) in [("1", "ops"), ("1", "chat"), ("2", "ops")] {
            assert!(journal.push(pushed(alert, webhook, attempts)), "nothing has to go");
        }
    }
    assert!(journal.push(told("2")));
    let newest = [pushed("1", "ops", 19_999), pushed("1", "chat", 19_999), told("2")];
    assert_eq!(drain(journal), [&[pushed("0", "ops", 1), hold()][..], &newest].concat());
}

#[test]
fn a_push_that_is_under_way_is_left_as_it_is_told() {
    let mut journal = Journal::default();
    journal.push(pushed("1", "ops", 1));
    assert_eq!(journal.begin(), Some(pushed("1", "ops", 1)));
    journal.push(pushed("1", "ops", 2));
    journal.push(told("1"));
    assert_eq!(journal.end(false), Some(pushed("1", "ops", 1)));
    assert_eq!(drain(journal), [told("1")]);
}
