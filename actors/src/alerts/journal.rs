//! What is still to be told to the ledger, in order. One question is under way at a time; while the ledger is away,
//! everything waits, but of each push only how far it has come last.

use std::collections::VecDeque;

use super::alert::{Alert, Push};
use super::ledger::Resolution;

/// Entries kept while the ledger is away; beyond, the oldest are lost.
const MOST: usize = 10_000;

/// One thing to be told.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// An alert that fires; `told`: people know of it already.
    Enter {
        alert: Box<Alert>,
        told: bool,
    },
    Hold {
        alert: String,
    },
    Resolve(Resolution),
    Acknowledge {
        alert: String,
        at_ms: i64,
    },
    Pushed(Push),
}

/// See the module.
#[derive(Debug, Default)]
pub struct Journal {
    queue: VecDeque<Write>,
    /// The first one is being told.
    writing: bool,
}

impl Journal {
    /// Adds an entry. False when another one had to go for it.
    pub fn push(&mut self, write: Write) -> bool {
        let skip = usize::from(self.writing);
        if let Write::Pushed(newest) = &write
            && let Some(older) = self.queue.iter_mut().skip(skip).find_map(|write| match write {
                Write::Pushed(older) => older.is_same(newest).then_some(older),
                _ => None,
            })
        {
            // The entry of its alert stands before both.
            older.clone_from(newest);
            return true;
        }
        self.queue.push_back(write);
        let room = self.queue.len() <= MOST;
        if !room {
            // Never the one that is under way.
            self.queue.remove(skip);
        }
        room
    }

    /// Adds an entry in front of all others that are not under way.
    pub fn push_first(&mut self, write: Write) {
        self.queue.insert(usize::from(self.writing).min(self.queue.len()), write);
    }

    /// The next entry, which counts as under way from here on.
    pub fn begin(&mut self) -> Option<Write> {
        let next = self.queue.front().filter(|_| !self.writing).cloned();
        self.writing |= next.is_some();
        next
    }

    /// The entry under way has been told; or not, and `keep` says whether it is to be told again.
    pub fn end(&mut self, keep: bool) -> Option<Write> {
        if !std::mem::take(&mut self.writing) {
            return None;
        }
        if keep { self.queue.front().cloned() } else { self.queue.pop_front() }
    }

    /// The instance that was writing has died.
    pub fn interrupted(&mut self) {
        self.writing = false;
    }

    /// The alert of an entry that is not under way yet, to be changed before it is told.
    pub fn unwritten(&mut self, alert: &str) -> Option<&mut Alert> {
        let skip = usize::from(self.writing);
        self.queue.iter_mut().skip(skip).find_map(|write| match write {
            Write::Enter { alert: entry, .. } if entry.id == alert => Some(&mut **entry),
            _ => None,
        })
    }

    /// Whether an entry waits that is alike.
    pub fn any(&self, is: impl Fn(&Write) -> bool) -> bool {
        self.queue.iter().any(is)
    }

    /// The entry under way, to be changed.
    pub fn under_way(&mut self) -> Option<&mut Write> {
        self.queue.front_mut().filter(|_| self.writing)
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}
