//! An instance of the actor that hung, was replaced and woke up again.

use std::sync::Mutex;

use actix::{Addr, Message};
use tokio::sync::oneshot;

use super::*;
use crate::alerts::{
    Acknowledge, Acknowledged, AlertActor, AlertChanged, Alerts, Asked, Delivery, Deps, Entered, Entry,
    Lease, Ledger, LedgerError, PostFuture, Poster, Push, Resolution, Watch,
};
use crate::clock::by_hand;
use crate::metrics_aggregator::{Labels, Metrics, Record, Writer, method_index};
use crate::supervision::Instances;
use crate::testing::{collect, obituaries, until};

type Answered = oneshot::Sender<Result<Entered, LedgerError>>;

/// A ledger whose answers to entries are the test's to give.
#[derive(Default)]
struct Slow {
    entries: Mutex<Vec<(Alert, Option<Answered>)>>,
    open: Mutex<Vec<Alert>>,
}

impl Slow {
    fn asked(&self) -> usize {
        self.entries.lock().unwrap().len()
    }

    fn away(&self, question: usize) {
        self.answer(question, Err(LedgerError("away".into())));
    }

    fn takes(&self, question: usize) {
        let alert = self.entries.lock().unwrap()[question].0.clone();
        self.open.lock().unwrap().push(alert.clone());
        self.answer(question, Ok(Entered::Ours(alert)));
    }

    fn answer(&self, question: usize, answer: Result<Entered, LedgerError>) {
        let answered = self.entries.lock().unwrap()[question].1.take();
        answered.unwrap().send(answer).unwrap();
    }
}

impl Ledger for Slow {
    fn open(&self) -> Asked<Vec<Alert>> {
        let open = self.open.lock().unwrap().clone();
        Box::pin(async { Ok(open) })
    }

    fn enter(&self, entry: Entry) -> Asked<Entered> {
        let (answered, answer) = oneshot::channel();
        self.entries.lock().unwrap().push((entry.alert, Some(answered)));
        Box::pin(async { answer.await.unwrap() })
    }

    fn hold(&self, _: String, _: String, _: i64) -> Asked<()> {
        Box::pin(async { Ok(()) })
    }

    fn resolve(&self, _: Resolution) -> Asked<Option<Alert>> {
        Box::pin(async { Ok(None) })
    }

    fn acknowledge(&self, _: String, _: i64) -> Asked<Option<Alert>> {
        Box::pin(async { Ok(None) })
    }

    fn claim(&self, _: Vec<String>, _: Lease, _: u32) -> Asked<Vec<(Alert, Push)>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn pushed(&self, _: Push) -> Asked<()> {
        Box::pin(async { Ok(()) })
    }
}

struct Taken;

impl Poster for Taken {
    fn post(&self, _: Delivery) -> PostFuture {
        Box::pin(async { Ok(()) })
    }
}

/// Instances of one actor, with what they have in common.
struct House {
    alerts: Arc<Alerts>,
    metrics: Arc<Metrics>,
    ledger: Arc<Slow>,
    instances: Instances,
}

impl House {
    /// Every request of the last second has failed.
    fn new() -> Self {
        let metrics = Metrics::with_clock(by_hand(T).0);
        let bad = Record {
            ended_ms: T as u64 - 1_000,
            method: method_index("GET"),
            status: 500,
            duration_us: 1,
            ..Record::default()
        };
        metrics.state().record(&Arc::new(Labels::default()), &[bad]);
        let writer = Writer { instance: "a".into(), boot: "1".into() };
        let (alerts, ledger) = (Arc::new(Alerts::new(&writer, true)), Arc::default());
        Self { alerts, metrics: Arc::new(metrics), ledger, instances: Instances::default() }
    }

    fn start(&self) -> Addr<AlertActor> {
        let (changes, _) = collect::<AlertChanged>();
        let deps = Deps {
            alerts: self.alerts.clone(),
            ledger: Some(self.ledger.clone()),
            metrics: self.metrics.clone(),
            counting_since: std::time::Instant::now(),
            stopping: Box::new(|| false),
            poster: Box::new(|| Box::new(Taken)),
            changes,
            on_stop: obituaries().0,
            fence: self.instances.next(),
        };
        AlertActor::start_in(&actix_rt::Arbiter::current(), deps)
    }
}

fn watch(rules: Vec<Rule>) -> Watch {
    Watch { settings: Some(settings(rules)), targets: Vec::new() }
}

#[test]
fn what_a_ghost_hears_of_the_store_is_not_its_successors_answer() {
    actix_rt::System::new().block_on(async {
        let house = House::new();
        let ghost = house.start();
        ghost.do_send(watch(vec![rule("errors")]));
        until("the first has asked", || house.ledger.asked() == 1).await;
        let heir = house.start();
        heir.do_send(watch(vec![rule("errors")]));
        until("its successor has asked", || house.ledger.asked() == 2).await;
        house.ledger.away(0);
        until("the ghost has stopped", || !ghost.connected()).await;
        assert_eq!(house.alerts.state().away(), None);
        assert!(house.alerts.state().firing().is_empty(), "the store is still being asked");
        house.ledger.takes(1);
        until("it fires", || house.alerts.state().firing().len() == 1).await;
    });
}

/// Sends it to an instance that has been replaced, which stops; answers what it answers.
async fn haunt<M>(house: &House, message: M) -> M::Result
where
    M: Message + Send + 'static,
    M::Result: Send,
    AlertActor: actix::Handler<M>,
    actix::Context<AlertActor>: actix::dev::ToEnvelope<AlertActor, M>,
{
    let ghost = house.start();
    house.instances.next();
    let answer = ghost.send(message).await.unwrap();
    until("the ghost has stopped", || !ghost.connected()).await;
    answer
}

#[test]
fn a_ghost_neither_watches_nor_acknowledges() {
    actix_rt::System::new().block_on(async {
        let house = House::new();
        house.start().send(watch(vec![rule("errors")])).await.unwrap();
        until("it has asked", || house.ledger.asked() == 1).await;
        house.ledger.takes(0);
        until("it fires", || house.alerts.state().firing().len() == 1).await;
        haunt(&house, watch(Vec::new())).await;
        assert_eq!(house.alerts.state().settings().rules.len(), 1);
        let alert = house.alerts.state().firing().remove(0);
        let answer = haunt(&house, Acknowledge { alert: alert.id }).await;
        assert_eq!(answer, Acknowledged::Replaced);
        assert_eq!(house.alerts.state().firing()[0].acknowledged_at_ms, None);
    });
}
