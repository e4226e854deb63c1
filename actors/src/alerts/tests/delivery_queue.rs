//! Who is told what, and when.

use super::*;
use crate::alerts::delivery_queue::{DeliveryQueue, MOST, Then};
use crate::alerts::{Failure, Push, Told};

fn alert(id: &str) -> Alert {
    Alert { id: id.into(), ..Alert::of(&rule("r"), id.into(), 1.0, "", "a", T) }
}

fn over(alert: &Alert) -> Alert {
    Alert { resolved_at_ms: Some(T + 1), ..alert.clone() }
}

fn fails(then: Then) -> Result<(), Failure> {
    Err(Failure { what: "status 500".into(), then })
}

fn ops() -> Vec<String> {
    vec!["ops".into()]
}

#[test]
fn waits_double_up_to_a_minute_and_begin_again_after_a_success() {
    let mut queue = DeliveryQueue::new(false);
    queue.add(&alert("1"), &ops());
    let mut now = T;
    let mut waits = Vec::new();
    for _ in 0..12 {
        let delivery = queue.due(&[webhook("ops")], now).remove(0);
        let outcome = queue.ended(&delivery, fails(Then::Again), now, 1.0).unwrap();
        let wait = outcome.wait.unwrap().as_millis() as i64;
        assert!(queue.due(&[webhook("ops")], now + wait - 1).is_empty());
        assert_eq!(queue.next_due(), Some(now + wait));
        waits.push(wait);
        now += wait;
    }
    assert_eq!(waits[..8], [500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000]);
    assert_eq!(waits[11], 60_000);
    let delivery = queue.due(&[webhook("ops")], now).remove(0);
    let outcome = queue.ended(&delivery, Ok(()), now, 1.0).unwrap();
    assert_eq!((outcome.wait, outcome.push.told, outcome.push.attempts), (None, Some(Told::Fired), 0));
    queue.update(&over(&alert("1")));
    let delivery = queue.due(&[webhook("ops")], now).remove(0);
    let outcome = queue.ended(&delivery, fails(Then::Again), now, 0.0).unwrap();
    assert_eq!(outcome.wait, Some(Duration::from_millis(250)), "half of it is drawn");
}

#[test]
fn what_a_receiver_asks_for_is_waited_within_an_hour() {
    for (asked, waited) in [(3, 3), (0, 0), (100_000, 3_600)] {
        let mut queue = DeliveryQueue::new(false);
        queue.add(&alert("1"), &ops());
        let delivery = queue.due(&[webhook("ops")], T).remove(0);
        let outcome = queue.ended(&delivery, fails(Then::After(Duration::from_secs(asked))), T, 0.0).unwrap();
        assert_eq!(outcome.wait.unwrap().as_secs(), waited);
    }
}

#[test]
fn what_is_refused_is_not_sent_again_but_the_end_is() {
    let mut queue = DeliveryQueue::new(false);
    queue.add(&alert("1"), &ops());
    let delivery = queue.due(&[webhook("ops")], T).remove(0);
    let outcome = queue.ended(&delivery, fails(Then::GiveUp), T, 0.5).unwrap();
    assert_eq!((outcome.wait, outcome.push.error.as_deref()), (None, Some("status 500")));
    assert!(queue.due(&[webhook("ops")], T).is_empty() && queue.is_idle());
    queue.update(&over(&alert("1")));
    assert_eq!(queue.due(&[webhook("ops")], T)[0].told, Told::Resolved);
}

#[test]
fn one_alert_that_is_not_taken_lets_the_others_take_turns_and_no_webhook_waits_for_another() {
    let mut queue = DeliveryQueue::new(false);
    queue.add(&alert("1"), &["ops".into(), "chat".into()]);
    queue.add(&alert("2"), &ops());
    let hooks = [webhook("ops"), webhook("chat")];
    let deliveries = queue.due(&hooks, T);
    let sent: Vec<_> = deliveries.iter().map(|p| (p.webhook.name.as_str(), p.alert.id.as_str())).collect();
    assert_eq!(sent, [("ops", "1"), ("chat", "1")]);
    let wait = queue.ended(&deliveries[0], fails(Then::Again), T, 0.5).unwrap().wait.unwrap();
    assert!(queue.ended(&deliveries[1], Ok(()), T, 0.5).is_some());
    let later = T + wait.as_millis() as i64;
    assert_eq!(queue.due(&hooks, later)[0].alert.id, "2");
}

fn of_rule(rule_id: &str, id: &str, at: i64) -> Alert {
    Alert::of(&rule(rule_id), id.into(), 1.0, "", "a", at)
}

/// Everything that is sent until nothing waits.
fn drain(queue: &mut DeliveryQueue) -> Vec<(String, Told)> {
    let mut sent = Vec::new();
    while let Some(delivery) = queue.due(&[webhook("ops")], T).pop() {
        queue.ended(&delivery, Ok(()), T, 0.5).unwrap();
        sent.push((delivery.alert.id, delivery.told));
    }
    sent
}

#[test]
fn what_is_superseded_makes_room_before_the_newest_of_any_rule() {
    let mut queue = DeliveryQueue::new(false);
    // The only one of its rule, older than all others; and one whose beginning has been told.
    queue.add(&of_rule("rare", "rare", T - 10), &ops());
    queue.add(&of_rule("begun", "begun", T - 9), &ops());
    for _ in 0..2 {
        let delivery = queue.due(&[webhook("ops")], T).remove(0);
        queue.ended(&delivery, Ok(()), T, 0.5).unwrap();
    }
    queue.update(&over(&of_rule("rare", "rare", T - 10)));
    queue.update(&over(&of_rule("begun", "begun", T - 9)));
    let lost: usize =
        (0..2 * MOST).map(|n| queue.add(&of_rule("begun", &n.to_string(), T + n as i64), &ops())).sum();
    assert_eq!(lost, MOST + 2);
    let sent = drain(&mut queue);
    assert_eq!(sent.len(), MOST);
    for news in ["rare", "begun"] {
        assert!(sent.contains(&(news.to_owned(), Told::Resolved)), "{news}");
    }
    assert!(sent.contains(&((2 * MOST - 1).to_string(), Told::Fired)), "the newest");
    assert!(
        !sent.contains(&((MOST + 1).to_string(), Told::Fired))
            && sent.contains(&((MOST + 2).to_string(), Told::Fired))
    );
}

#[test]
fn what_the_ledger_has_makes_room_first_and_what_is_being_sent_never() {
    let mut queue = DeliveryQueue::new(true);
    queue.add(&of_rule("r", "sent", T - 1), &ops());
    let delivery = queue.due(&[webhook("ops")], T).remove(0);
    let leased =
        |n: usize| (of_rule(&n.to_string(), &format!("kept {n}"), T), Push::new(&format!("kept {n}"), "ops"));
    queue.leased((0..MOST / 2).map(leased).collect());
    for n in 0..MOST {
        let lost = queue.add(&of_rule("r", &n.to_string(), T + n as i64), &ops());
        assert_eq!(lost, usize::from(n == MOST - 1), "{n}: the ledger has what makes room");
    }
    assert!(queue.pushes("kept 0").is_empty());
    assert!(queue.ended(&delivery, Ok(()), T, 0.5).is_some(), "it is known what came of it");
}

#[test]
fn the_oldest_make_room() {
    let mut queue = DeliveryQueue::new(false);
    for n in 0..MOST {
        assert_eq!(queue.add(&alert(&n.to_string()), &ops()), 0);
    }
    assert_eq!(queue.add(&alert("new"), &ops()), 1);
    assert_eq!(queue.due(&[webhook("ops")], T)[0].alert.id, "1");
}

#[test]
fn what_is_leased_is_sent_once_however_often_the_ledger_says_so() {
    let mut queue = DeliveryQueue::new(true);
    let row = || (alert("1"), Push::new("1", "ops"));
    queue.leased(vec![row()]);
    queue.leased(vec![row()]);
    let delivery = queue.due(&[webhook("ops")], T).remove(0);
    queue.leased(vec![row()]);
    queue.ended(&delivery, Ok(()), T, 0.5).unwrap();
    // The ledger has not heard of it yet.
    queue.leased(vec![row()]);
    assert!(queue.due(&[webhook("ops")], T).is_empty());
    // Now it has.
    queue.leased(Vec::new());
    assert!(queue.pushes("1").is_empty());
    let told = Push { told: Some(Told::Fired), ..Push::new("1", "ops") };
    queue.leased(vec![(over(&alert("1")), told)]);
    assert_eq!(queue.due(&[webhook("ops")], T)[0].told, Told::Resolved);
}

#[test]
fn what_is_not_leased_any_more_is_somebody_elses() {
    let mut queue = DeliveryQueue::new(true);
    queue.leased(vec![(alert("1"), Push::new("1", "ops"))]);
    let delivery = queue.due(&[webhook("ops")], T).remove(0);
    queue.leased(Vec::new());
    assert!(queue.ended(&delivery, Ok(()), T, 0.5).is_none());
}

#[test]
fn a_webhook_that_goes_takes_what_waits_for_it_along() {
    let mut queue = DeliveryQueue::new(false);
    queue.add(&alert("1"), &ops());
    assert!(queue.keep(&[webhook("ops")]).is_empty());
    assert_eq!(queue.keep(&[webhook("chat")]).len(), 1);
    assert!(queue.is_idle());
}

#[test]
fn a_clock_that_was_ahead_keeps_no_webhook_waiting() {
    let mut queue = DeliveryQueue::new(false);
    queue.add(&alert("1"), &ops());
    let ahead = T + 40 * 86_400_000;
    let delivery = queue.due(&[webhook("ops")], ahead).remove(0);
    queue.ended(&delivery, fails(Then::Again), ahead, 1.0).unwrap();
    assert!(queue.due(&[webhook("ops")], T).is_empty());
    assert_eq!(queue.due(&[webhook("ops")], T + 3_600_000).len(), 1);
}
