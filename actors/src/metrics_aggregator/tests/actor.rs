//! The actor with a store of the test's own: who is answered when, and what an instance may still do that was replaced.

use std::pin::Pin;
use std::sync::Mutex;

use actix::Addr;
use tokio::sync::oneshot;

use super::*;
use crate::supervision::{Fence, Instances};
use crate::testing::{obituaries, until};

fn start(sink: Arc<dyn Sink>, metrics: &Arc<Metrics>, fence: Fence) -> Addr<MetricsAggregatorActor> {
    let deps = Deps {
        metrics: metrics.clone(),
        sink: Some(sink),
        writer: Writer { instance: "i".into(), boot: "b".into() },
        flush_interval: std::time::Duration::from_secs(3600),
        on_stop: obituaries().0,
        fence,
    };
    MetricsAggregatorActor::start_in(&actix_rt::Arbiter::current(), deps)
}

/// A sink that notes what it is given and answers as it is told.
struct Notes(Mutex<Vec<Batch>>);

impl Sink for Notes {
    fn write(&self, _: Writer, batch: Batch) -> Pin<Box<dyn Future<Output = Result<(), SinkError>> + Send>> {
        let mut batches = self.0.lock().unwrap();
        batches.push(batch);
        let first = batches.len() == 1;
        Box::pin(async move { if first { Err(SinkError("not yet".into())) } else { Ok(()) } })
    }
}

#[test]
fn a_flush_is_answered_when_everything_is_written() {
    actix_rt::System::new().block_on(async {
        let (sink, metrics) = (Arc::new(Notes(Mutex::default())), Arc::new(Metrics::default()));
        let addr = start(sink.clone(), &metrics, Instances::default().next());
        let records = vec![record(START, Some(0), 200, 5)];
        addr.do_send(Records { labels: labels(), records, samples: Vec::new() });
        assert_eq!(addr.send(Flush).await, Ok(Written::NotYet), "the store has refused");
        assert!(metrics.store_error().is_some());
        assert_eq!(addr.send(Flush).await, Ok(Written::All));
        assert_eq!((metrics.store_error(), metrics.waiting()), (None, 0));
        let batches = sink.0.lock().unwrap();
        assert_eq!(batches.len(), 2);
        assert_eq!(batches[0].rollups, batches[1].rollups, "the same again");
    });
}

/// A sink that cannot be used.
struct Broken;

impl Sink for Broken {
    fn prove(&self) -> Pin<Box<dyn Future<Output = Result<(), SinkError>> + Send>> {
        Box::pin(async { Err(SinkError("opening x: no such folder".into())) })
    }

    fn write(&self, _: Writer, _: Batch) -> Pin<Box<dyn Future<Output = Result<(), SinkError>> + Send>> {
        unreachable!("there is nothing to write")
    }
}

#[test]
fn a_store_that_cannot_be_used_is_told_before_there_is_anything_to_write() {
    actix_rt::System::new().block_on(async {
        let metrics = Arc::new(Metrics::default());
        let _addr = start(Arc::new(Broken), &metrics, Instances::default().next());
        until("it is told", || metrics.store_error().is_some()).await;
        assert_eq!(metrics.store_error().unwrap(), "opening x: no such folder");
    });
}

/// A sink whose answers are the test's to give.
#[derive(Default)]
struct Slow(Mutex<Vec<oneshot::Sender<Result<(), SinkError>>>>);

impl Sink for Slow {
    fn write(&self, _: Writer, _: Batch) -> Pin<Box<dyn Future<Output = Result<(), SinkError>> + Send>> {
        let (answered, answer) = oneshot::channel();
        self.0.lock().unwrap().push(answered);
        Box::pin(async { answer.await.unwrap() })
    }
}

impl Slow {
    fn writes(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

fn change(generation: u64) -> Changed {
    let (instance, hash, what) = ("i".into(), String::new(), String::new());
    Changed(ConfigChange { at_ms: START * 1_000, instance, generation, hash, what })
}

#[test]
fn a_write_of_a_ghost_takes_nothing_away_and_says_nothing_of_the_store() {
    actix_rt::System::new().block_on(async {
        for result in [Ok(()), Err(SinkError("too late".into()))] {
            let (sink, metrics, instances) =
                (Arc::new(Slow::default()), Arc::default(), Instances::default());
            let ghost = start(sink.clone(), &metrics, instances.next());
            ghost.do_send(change(1));
            let flushed = actix_rt::spawn(ghost.send(Flush));
            until("it is being written", || sink.writes() == 1).await;
            let heir = start(sink.clone(), &metrics, instances.next());
            heir.send(change(2)).await.unwrap();
            sink.0.lock().unwrap().remove(0).send(result).unwrap();
            assert_eq!(flushed.await.unwrap(), Ok(Written::NotYet));
            until("the ghost has stopped", || !ghost.connected()).await;
            assert_eq!(metrics.state().changes.first(9).items.len(), 2, "its successor writes both");
            assert_eq!((metrics.store_up(), metrics.store_error()), (false, None));
        }
    });
}

#[test]
fn a_ghost_counts_what_it_was_sent_and_writes_nothing() {
    actix_rt::System::new().block_on(async {
        let (sink, metrics, instances) = (Arc::new(Slow::default()), Arc::default(), Instances::default());
        let ghost = start(sink.clone(), &metrics, instances.next());
        let heir = start(sink.clone(), &metrics, instances.next());
        let second = metrics.now_ms() / 1_000;
        // One that may have been written and forgotten by now, and one that cannot have been.
        let records =
            vec![record(second - IN_MEMORY_SECONDS, None, 200, 1), record(second - 60, None, 200, 1)];
        ghost.send(Records { labels: labels(), records, samples: Vec::new() }).await.unwrap();
        assert_eq!(metrics.missing(2), 1);
        assert_eq!(ghost.send(Flush).await, Ok(Written::NotYet), "its successor writes it");
        drop(heir);
        let counted = metrics.state().recent.within(second - 100, second + 10);
        assert_eq!(counted.iter().map(|rollup| rollup.tally.requests).sum::<u64>(), 1);
    });
}
