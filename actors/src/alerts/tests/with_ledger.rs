//! Rules judged with a store: several instances on one ledger, restarts, outages.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::*;
use crate::alerts::state::{Answer, Ask};
use crate::alerts::{Entered, Entry, LedgerError, Push, Told};

const BAD: Measured = Measured { value: Some(0.5), whole: true };
const GOOD: Measured = Measured { value: Some(0.0), whole: true };
/// After a restart: nothing has been seen yet.
const NEW: Measured = Measured { value: None, whole: false };

/// A ledger in memory, as the real ones behave.
#[derive(Default)]
struct Book {
    alerts: Vec<Alert>,
    holders: BTreeMap<(String, String), i64>,
    pushes: Vec<(Push, String, i64)>,
    away: bool,
}

impl Book {
    fn ask(&mut self, ask: Ask) -> Result<Answer, LedgerError> {
        if self.away {
            return Err(LedgerError("away".into()));
        }
        Ok(match ask {
            Ask::Enter(entry) => Answer::Entered(self.enter(*entry)),
            Ask::Hold { alert, instance, at_ms } => {
                self.holders.insert((alert, instance), at_ms);
                Answer::Done
            }
            Ask::Resolve(wish) => {
                self.holders.remove(&(wish.alert.clone(), wish.instance.clone()));
                let held =
                    self.holders.iter().any(|((alert, _), at)| *alert == wish.alert && *at >= wish.stale_ms);
                let alert = self.alerts.iter_mut().find(|alert| alert.id == wish.alert).unwrap();
                if !held && alert.resolved_at_ms.is_none() {
                    (alert.resolved_at_ms, alert.reason) = (Some(wish.at_ms), wish.reason);
                }
                Answer::Resolved(Some(alert.clone()).filter(|alert| alert.resolved_at_ms.is_some()))
            }
            Ask::Acknowledge { alert, at_ms } => {
                let alert = self.alerts.iter_mut().find(|known| known.id == alert).unwrap();
                alert.acknowledged_at_ms.get_or_insert(at_ms);
                Answer::Acknowledged(Some(alert.clone()))
            }
            Ask::Pushed(push) => {
                let row = self
                    .pushes
                    .iter_mut()
                    .find(|(row, ..)| (&row.alert, &row.webhook) == (&push.alert, &push.webhook));
                row.unwrap().0 = push;
                Answer::Done
            }
        })
    }

    fn enter(&mut self, entry: Entry) -> Entered {
        let Entry { alert, pushes, cooled_since_ms, lease } = entry;
        if let Some(known) = self.alerts.iter_mut().find(|known| known.id == alert.id) {
            if known.resolved_at_ms.is_none() {
                *known = alert;
            }
            return Entered::Ours(known.clone());
        }
        let mut same = self.alerts.iter().filter(|known| known.rule == alert.rule);
        if let Some(open) = same.clone().find(|known| known.resolved_at_ms.is_none())
            && alert.resolved_at_ms.is_none()
        {
            return Entered::Theirs(open.clone());
        }
        if let Some(last) = same.find(|known| cooled_since_ms.is_some_and(|since| known.fired_at_ms > since))
        {
            return Entered::Cooling(last.clone());
        }
        self.alerts.push(alert.clone());
        self.holders.insert((alert.id.clone(), alert.instance.clone()), lease.now_ms);
        self.pushes.extend(pushes.into_iter().map(|push| (push, lease.by.clone(), lease.until_ms)));
        Entered::Ours(alert)
    }

    fn open(&self) -> View {
        match self.away {
            true => View::Away("away".into()),
            false => View::Open(self.alerts.iter().filter(|a| a.resolved_at_ms.is_none()).cloned().collect()),
        }
    }
}

/// An instance with its ledger, and what it has told the webhook.
struct Instance {
    state: AlertsState,
    book: Rc<RefCell<Book>>,
    told: Vec<(String, Told)>,
}

impl Instance {
    fn new(name: &str, book: &Rc<RefCell<Book>>) -> Self {
        Self { state: state(name, true, vec![rule("errors")]), book: book.clone(), told: Vec::new() }
    }

    /// One look, and everything that follows.
    fn look(&mut self, now: i64, measured: Measured) -> Vec<(Change, String)> {
        let view = self.book.borrow().open();
        let mut out = look(&mut self.state, now, view, measured);
        loop {
            while let Some(ask) = self.state.next_write(now) {
                let answer = self.book.borrow_mut().ask(ask);
                out.extend(changes(self.state.answered(now, answer)));
            }
            if let Some((webhooks, lease)) = self.state.claim(now) {
                let mut book = self.book.borrow_mut();
                let alerts = book.alerts.clone();
                let rows = book.pushes.iter_mut().filter_map(|(push, by, until)| {
                    let alert = alerts.iter().find(|alert| alert.id == push.alert)?;
                    push.next(alert)?;
                    if (*by != lease.by && *until >= lease.now_ms) || !webhooks.contains(&push.webhook) {
                        return None;
                    }
                    (*by, *until) = (lease.by.clone(), lease.until_ms);
                    Some((alert.clone(), push.clone()))
                });
                self.state.claimed(rows.collect());
            }
            let deliveries = self.state.due(now);
            if deliveries.is_empty() {
                return out;
            }
            for delivery in deliveries {
                self.told.push((delivery.alert.id.clone(), delivery.told));
                out.extend(changes(self.state.sent(now, &delivery, Ok(()))));
            }
        }
    }

    fn events(&self) -> Vec<Told> {
        self.told.iter().map(|(_, told)| *told).collect()
    }
}

fn book() -> Rc<RefCell<Book>> {
    Rc::default()
}

#[test]
fn of_two_instances_one_tells_and_both_know() {
    let book = book();
    let (mut a, mut b) = (Instance::new("a", &book), Instance::new("b", &book));
    assert_eq!(a.look(T, BAD), fired("errors"));
    assert_eq!(b.look(T + 10, BAD), [(Change::Seen, "errors".to_owned())]);
    assert_eq!((a.events(), b.events()), (vec![Told::Fired], vec![]));
    assert_eq!(a.state.firing(), b.state.firing());
    // It is over for one of them only.
    for second in 1..20 {
        assert_eq!(a.look(T + second * 10_000, GOOD), []);
        assert_eq!(b.look(T + second * 10_000 + 10, BAD), []);
    }
    assert_eq!(b.look(T + 200_000, GOOD), resolved("errors"));
    assert_eq!(a.look(T + 200_010, GOOD), resolved("errors"));
    assert_eq!((a.events(), b.events()), (vec![Told::Fired], vec![Told::Resolved]));
    // The cooldown is everybody's.
    assert_eq!(a.look(T + 210_000, BAD), []);
    assert_eq!(a.look(T + 300_000, BAD), fired("errors"));
}

#[test]
fn two_that_ask_at_once_fire_once() {
    let book = book();
    let (mut a, mut b) = (Instance::new("a", &book), Instance::new("b", &book));
    let view = book.borrow().open();
    assert_eq!(look(&mut b.state, T, view, BAD), [], "it asks first");
    assert!(b.state.firing().is_empty());
    assert_eq!(a.look(T, BAD), fired("errors"));
    let ask = b.state.next_write(T).unwrap();
    let answer = book.borrow_mut().ask(ask);
    assert_eq!(changes(b.state.answered(T, answer)), [(Change::Seen, "errors".to_owned())]);
    assert_eq!(a.state.firing(), b.state.firing());
    assert!(b.state.due(T).is_empty());
}

#[test]
fn when_the_one_that_saw_it_is_gone_another_ends_it_after_its_window() {
    let book = book();
    let (mut a, mut b) = (Instance::new("a", &book), Instance::new("b", &book));
    a.look(T, BAD);
    drop(a);
    // Window 60 s, three intervals of 10 s, 2 s.
    for second in 1..=92 {
        assert_eq!(
            b.look(T + second * 1_000, GOOD).iter().filter(|(what, _)| *what != Change::Seen).count(),
            0,
            "{second}"
        );
    }
    assert_eq!(b.look(T + 93_000, GOOD), resolved("errors"));
    assert_eq!(b.events(), [Told::Resolved], "the lease has run out");
}

#[test]
fn a_restart_leaves_it_firing_and_tells_nobody_twice() {
    let book = book();
    let mut a = Instance::new("a", &book);
    a.look(T, BAD);
    let mut a = Instance { state: state("a", true, vec![rule("errors")]), told: a.told, book: a.book };
    assert_eq!(a.look(T + 1_000, NEW), [(Change::Seen, "errors".to_owned())]);
    assert_eq!(a.look(T + 10_000, BAD), []);
    assert_eq!(a.look(T + 20_000, NEW), []);
    assert_eq!(a.look(T + 80_000, GOOD), resolved("errors"));
    assert_eq!(a.events(), [Told::Fired, Told::Resolved]);
}

#[test]
fn a_store_that_is_away_holds_up_nothing_and_learns_of_it_later() {
    let book = book();
    let mut a = Instance::new("a", &book);
    book.borrow_mut().away = true;
    assert_eq!(a.look(T, BAD), fired("errors"));
    assert_eq!(a.look(T + 10_000, BAD), []);
    let id = a.state.firing()[0].id.clone();
    assert!(a.state.acknowledge(T + 15_000, &id).is_some());
    assert_eq!(a.look(T + 20_000, GOOD), resolved("errors"));
    assert_eq!(a.events(), [Told::Fired, Told::Resolved]);
    book.borrow_mut().away = false;
    assert_eq!(a.look(T + 30_000, GOOD), []);
    let kept = book.borrow().alerts.clone();
    assert_eq!(
        (kept.len(), kept[0].resolved_at_ms, kept[0].acknowledged_at_ms),
        (1, Some(T + 20_000), Some(T + 15_000))
    );
    assert_eq!(book.borrow().pushes[0].0.told, Some(Told::Resolved));
    assert_eq!(a.events().len(), 2, "nobody is told twice");
    a.look(T + 40_000, GOOD);
    assert!(a.state.pushes(&id).is_empty(), "nothing is left in hand");
}

#[test]
fn a_store_that_goes_away_in_mid_entry_is_asked_again_and_tells_nobody_twice() {
    let book = book();
    let mut a = Instance::new("a", &book);
    let view = book.borrow().open();
    look(&mut a.state, T, view, BAD);
    let ask = a.state.next_write(T).unwrap();
    // It is written, but nobody hears of it.
    book.borrow_mut().ask(ask).unwrap();
    let out = a.state.answered(T, Err(LedgerError("lost".into())));
    assert_eq!(changes(out), fired("errors"));
    assert_eq!(a.look(T + 10_000, BAD), []);
    assert_eq!(a.events(), [Told::Fired]);
    assert_eq!(book.borrow().alerts.len(), 1);
    assert_eq!(a.look(T + 20_000, GOOD), resolved("errors"));
    assert_eq!(a.events(), [Told::Fired, Told::Resolved]);
}

#[test]
fn an_alert_of_the_outage_gives_way_to_the_one_that_the_store_knows() {
    let book = book();
    let (mut a, mut b) = (Instance::new("a", &book), Instance::new("b", &book));
    b.look(T, GOOD);
    a.look(T, BAD);
    book.borrow_mut().away = true;
    // This one cannot know of it.
    assert_eq!(b.look(T + 1_000, BAD), fired("errors"));
    let (ours, theirs) = (b.state.firing()[0].id.clone(), a.state.firing()[0].id.clone());
    book.borrow_mut().away = false;
    let out = b.look(T + 2_000, BAD);
    assert_eq!(out, [resolved("errors"), vec![(Change::Seen, "errors".to_owned())]].concat());
    assert_eq!(ids(&b.state.firing()), [theirs.as_str()]);
    assert_eq!(b.told, [(ours.clone(), Told::Fired), (ours.clone(), Told::Resolved)]);
    let kept = book.borrow().alerts.clone();
    let reason = kept.iter().find(|alert| alert.id == ours).unwrap().reason.clone().unwrap();
    assert!(reason.contains("a had fired it already"), "{reason}");
}

#[test]
fn strangers_are_left_alone_and_an_own_rule_that_is_gone_is_not() {
    let book = book();
    let mut a = Instance::new("a", &book);
    a.look(T, BAD);
    // An instance that knows no such rule.
    let mut c = Instance::new("c", &book);
    c.state.watch(settings(Vec::new()));
    for second in 1..=600 {
        assert!(
            !c.look(T + second * 1_000, GOOD).iter().any(|(what, _)| *what == Change::Resolved),
            "{second}"
        );
    }
    a.state.watch(settings(Vec::new()));
    assert_eq!(a.look(T + 601_000, BAD), resolved("errors"));
}

#[test]
fn an_actor_that_takes_over_says_what_the_one_before_could_not() {
    let book = book();
    let mut a = Instance::new("a", &book);
    let view = book.borrow().open();
    look(&mut a.state, T, view, BAD);
    assert!(a.state.next_write(T).is_some());
    assert!(a.state.next_write(T).is_none(), "it is under way");
    a.state.taken_over();
    assert_eq!(a.look(T + 10_000, BAD), fired("errors"));
    assert_eq!(a.events(), [Told::Fired]);
}

#[test]
fn an_instance_without_rules_asks_once_what_it_has_left_open() {
    let book = book();
    let mut a = Instance::new("a", &book);
    a.look(T, BAD);
    for (name, change) in [("c", Change::Seen), ("a", Change::Resolved)] {
        let mut other = Instance::new(name, &book);
        other.state.watch(Arc::new(Settings { enabled: false, ..Settings::default() }));
        assert!(other.state.is_active() && !other.state.is_pressing(), "there is no hurry");
        assert_eq!(other.look(T + 1_000, NEW).last().map(|(what, _)| *what), Some(change), "{name}");
    }
    let mut a = Instance::new("a", &book);
    a.state.watch(Arc::new(Settings { enabled: false, ..Settings::default() }));
    assert_eq!(a.look(T + 2_000, NEW), []);
    assert!(!a.state.is_active());
}

#[test]
fn what_the_store_said_before_an_acknowledgement_does_not_undo_it() {
    let book = book();
    let mut a = Instance::new("a", &book);
    a.look(T, BAD);
    let before = book.borrow().open();
    let id = a.state.firing()[0].id.clone();
    a.state.acknowledge(T + 5, &id).unwrap();
    look(&mut a.state, T + 10, before, BAD);
    assert_eq!(a.state.acknowledge(T + 20, &id).unwrap().0.acknowledged_at_ms, Some(T + 5));
    a.look(T + 30, BAD);
    assert_eq!(book.borrow().alerts[0].acknowledged_at_ms, Some(T + 5));
}
