//! What people are shown of alerts, and what they say to them.

use super::*;

impl AlertsState {
    /// Somebody knows of an alert. `None`: it is none that is remembered here.
    pub fn acknowledge(&mut self, now: i64, id: &str) -> Option<(Alert, Vec<Output>)> {
        let mut out = Vec::new();
        let visible = |open: &&mut Open| open.alert.id == id && open.ledger != LedgerState::Asked;
        let open = self.open.values_mut().find(visible).map(|open| &mut open.alert);
        let alert = open.or_else(|| self.closed.iter_mut().find(|alert| alert.id == id))?;
        if alert.acknowledged_at_ms.is_none() {
            alert.acknowledged_at_ms = Some(now);
            let alert = alert.clone();
            self.deliveries.update(&alert);
            if let Some(unwritten) = self.journal.unwritten(id) {
                unwritten.acknowledged_at_ms = Some(now);
            } else if self.has_ledger {
                self.note(Write::Acknowledge { alert: id.to_owned(), at_ms: now }, &mut out);
            }
            publish(&mut out, Change::Acknowledged, &alert);
            return Some((alert, out));
        }
        Some((alert.clone(), out))
    }

    /// Open alerts, the newest first.
    pub fn firing(&self) -> Vec<Alert> {
        let told = self.open.values().filter(|open| open.ledger != LedgerState::Asked);
        let mut alerts: Vec<Alert> = told.map(|open| open.alert.clone()).collect();
        alerts.sort_by_key(|alert| std::cmp::Reverse(alert.fired_at_ms));
        alerts
    }

    /// Everything that is remembered, the newest first.
    pub fn history(&self) -> Vec<Alert> {
        let mut alerts = self.firing();
        alerts.extend(self.closed.iter().cloned());
        alerts.sort_by_key(|alert| std::cmp::Reverse(alert.fired_at_ms));
        alerts
    }

    /// How far the webhooks have been told of an alert, as far as that is known here.
    pub fn pushes(&self, alert: &str) -> Vec<Push> {
        self.deliveries.pushes(alert)
    }

    /// Why the ledger does not answer.
    pub fn away(&self) -> Option<&str> {
        self.away.as_deref()
    }

    /// How every rule stands.
    pub fn report(&self, now: i64) -> Vec<RuleReport> {
        let of = |rule: &Rule| {
            let watched = self.rules.get(&rule.id)?;
            let standing = match (self.open.contains_key(&rule.id), watched.since) {
                (true, _) => Standing::Firing,
                (false, None) => Standing::Quiet,
                (false, Some(_)) if self.is_cooling(&rule.id, now) => Standing::Cooling,
                (false, Some(_)) => Standing::Pending,
            };
            let (rule, value, last_fired_ms) = (rule.clone(), watched.value, watched.last_fired_ms);
            Some(RuleReport { rule, standing, value, last_fired_ms })
        };
        self.settings.rules.iter().filter_map(of).collect()
    }
}
