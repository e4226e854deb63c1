//! What the ledger is told and what it answers: alerts that other instances fired, those that may fire, those that are over.

use std::collections::HashSet;

use super::*;
use crate::alerts::ledger::{Lease, LedgerError};

impl AlertsState {
    /// Takes over what other instances, and this one before a restart, have left open; and notices what is over.
    pub(super) fn adopt(&mut self, now: i64, rows: Vec<Alert>, out: &mut Vec<Output>) {
        let ids: HashSet<String> = rows.iter().map(|alert| alert.id.clone()).collect();
        let over: Vec<String> = self
            .open
            .iter()
            .filter(|(_, open)| open.ledger == LedgerState::Known && !ids.contains(&open.alert.id))
            .map(|(rule, _)| rule.clone())
            .collect();
        for rule in over {
            if let Some(open) = self.open.get(&rule) {
                let alert = Alert { resolved_at_ms: Some(now), ..open.alert.clone() };
                self.close(alert, false, out);
            }
        }
        for alert in rows {
            self.fired(&alert.rule, alert.fired_at_ms);
            match self.open.get_mut(&alert.rule) {
                Some(open) if open.alert.id == alert.id => open.renew(alert),
                // The answer to its entry will say what becomes of it.
                Some(_) => {}
                None => {
                    publish(out, Change::Seen, &alert);
                    let rule = alert.rule.clone();
                    self.open.insert(rule, Open { alert, ledger: LedgerState::Known, dropped: false });
                }
            }
        }
        self.seen = true;
    }

    pub(super) fn is_away(&mut self, error: String, out: &mut Vec<Output>) {
        if self.away.is_none() {
            let what = format!(
                "the store of alerts does not answer; alerts fire from memory, and are written when it does: {error}"
            );
            out.push(Output::Log(log::Level::Warn, what));
        }
        self.away = Some(error);
    }

    /// What is to be told to the ledger next; it counts as under way until [`AlertsState::answered`].
    pub fn next_write(&mut self, now: i64) -> Option<Ask> {
        if self.away.is_some() {
            return None;
        }
        let write = self.journal.begin()?;
        Some(match write {
            Write::Enter { alert, told } => {
                let cooled = now - millis(&self.settings.cooldown);
                let mut pushes = self.deliveries.pushes(&alert.id);
                for webhook in self.rule(&alert.rule).into_iter().flat_map(Rule::webhooks) {
                    if !pushes.iter().any(|push| push.webhook == *webhook) {
                        pushes.push(Push::new(&alert.id, webhook));
                    }
                }
                let cooled_since_ms = (!told).then_some(cooled);
                let (alert, lease) = (*alert, self.lease(now));
                Ask::Enter(Box::new(Entry { alert, pushes, cooled_since_ms, lease }))
            }
            Write::Hold { alert } => Ask::Hold { alert, instance: self.who.instance.clone(), at_ms: now },
            Write::Resolve(resolution) => Ask::Resolve(resolution),
            Write::Acknowledge { alert, at_ms } => Ask::Acknowledge { alert, at_ms },
            Write::Pushed(push) => Ask::Pushed(push),
        })
    }

    /// The ledger has answered what was under way, or has not.
    pub fn answered(&mut self, now: i64, answer: Result<Answer, LedgerError>) -> Vec<Output> {
        let mut out = Vec::new();
        match answer {
            Err(error) => {
                self.is_away(error.0, &mut out);
                let mut again = true;
                match self.journal.under_way() {
                    Some(Write::Enter { alert, told }) => {
                        // Nobody is told later because the store is away.
                        let (first, alert) = (!std::mem::replace(told, true), (**alert).clone());
                        if first {
                            if let Some(open) = self.open.get_mut(&alert.rule) {
                                open.ledger = LedgerState::Here;
                            }
                            self.notify(&alert, &mut out);
                        }
                    }
                    // The next look says so again, if it is still so.
                    Some(Write::Hold { .. } | Write::Resolve(_)) => again = false,
                    _ => {}
                }
                self.journal.end(again);
            }
            Ok(answer) => {
                let write = self.journal.end(false);
                match (write, answer) {
                    (Some(Write::Enter { alert, told }), Answer::Entered(entered)) => {
                        self.entered(now, *alert, told, entered, &mut out);
                    }
                    (Some(Write::Resolve(_)), Answer::Resolved(Some(alert))) => {
                        let is = self.open.get(&alert.rule).is_some_and(|open| open.alert.id == alert.id);
                        if is {
                            self.close(alert, true, &mut out);
                        }
                    }
                    (Some(Write::Acknowledge { .. }), Answer::Acknowledged(Some(alert))) => self.renew(alert),
                    _ => {}
                }
            }
        }
        out
    }

    fn renew(&mut self, alert: Alert) {
        self.deliveries.update(&alert);
        if let Some(open) = self.open.get_mut(&alert.rule).filter(|open| open.alert.id == alert.id) {
            open.renew(alert);
        }
    }

    fn entered(&mut self, now: i64, ours: Alert, told: bool, entered: Entered, out: &mut Vec<Output>) {
        let rule = ours.rule.clone();
        let is_open = self.open.get(&rule).is_some_and(|open| open.alert.id == ours.id);
        match entered {
            Entered::Ours(alert) => {
                self.deliveries.entered(&alert.id);
                self.claim_due = true;
                if !is_open {
                    return;
                }
                if !told {
                    self.announce(Change::Fired, &alert, out);
                }
                if let Some(open) = self.open.get_mut(&rule) {
                    open.renew(alert);
                    open.ledger = LedgerState::Known;
                }
            }
            Entered::Theirs(theirs) => {
                self.fired(&rule, theirs.fired_at_ms);
                if is_open {
                    self.open.remove(&rule);
                    if told {
                        // People know of ours: they are told that it is the other one from now on, and it is kept.
                        let reason =
                            Some(format!("{} had fired it already, as {}", theirs.instance, theirs.id));
                        let ours = Alert { resolved_at_ms: Some(now), reason, ..ours };
                        self.journal.push_first(Write::Enter { alert: Box::new(ours.clone()), told });
                        self.close(ours, true, out);
                    }
                    publish(out, Change::Seen, &theirs);
                    self.open
                        .insert(rule, Open { alert: theirs, ledger: LedgerState::Known, dropped: false });
                }
            }
            Entered::Cooling(last) => {
                self.fired(&rule, last.fired_at_ms);
                if is_open {
                    self.open.remove(&rule);
                }
            }
        }
    }

    fn lease(&self, now: i64) -> Lease {
        let by = format!("{}#{}", self.who.instance, self.who.boot);
        Lease { by, now_ms: now, until_ms: now + self.beats(3) + LEASE_MS }
    }

    /// What to claim from the ledger, when it is time to.
    pub fn claim(&mut self, now: i64) -> Option<(Vec<String>, Lease)> {
        let due = std::mem::take(&mut self.claim_due) && self.has_ledger && self.away.is_none();
        let webhooks: Vec<String> =
            self.settings.webhooks.iter().map(|webhook| webhook.name.clone()).collect();
        (due && !webhooks.is_empty()).then(|| (webhooks, self.lease(now)))
    }

    /// The ledger has leased pushes.
    pub fn claimed(&mut self, rows: Vec<(Alert, Push)>) {
        self.deliveries.leased(rows);
    }
}
