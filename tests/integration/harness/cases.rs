//! Many small cases under one test: each has a name, all are run, and the test fails once with what was wrong.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// `Err` says what was seen instead.
pub type Verdict = Result<(), String>;

/// See the module.
pub struct Cases {
    group: &'static str,
    count: usize,
    wrong: Vec<String>,
}

impl Cases {
    /// No case yet.
    pub fn of(group: &'static str) -> Self {
        Self { group, count: 0, wrong: Vec::new() }
    }

    /// Runs one.
    pub fn case(&mut self, name: &str, check: impl FnOnce() -> Verdict) {
        self.count += 1;
        let verdict = catch_unwind(AssertUnwindSafe(check)).unwrap_or_else(|panic| {
            let told = panic.downcast_ref::<String>().cloned();
            Err(told.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.into())).unwrap_or_default())
        });
        if let Err(seen) = verdict {
            self.wrong.push(format!("{name}: {seen}"));
        }
    }

    /// Tells how many there were; panics when one was wrong.
    pub fn end(self) {
        let Self { group, count, wrong } = self;
        println!("{group}: {count} cases, {} wrong", wrong.len());
        assert!(count > 0, "{group}: no case");
        assert!(wrong.is_empty(), "{group}: {} of {count} are wrong:\n  {}", wrong.len(), wrong.join("\n  "));
    }
}

/// `Ok` when it holds, else what was seen.
pub fn expect(holds: bool, seen: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(seen()) }
}
