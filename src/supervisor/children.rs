//! The supervised actors, as far as they are alike: an instance of each runs, and another takes its place.

use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Actor, Addr, Recipient};
use actix_rt::{Arbiter, ArbiterHandle};
use aegis_actors::supervision::{Fence, Instances, OnStop, Ping, Stopped, Supervised};
#[cfg(feature = "test-hooks")]
use aegis_actors::supervision::{Hang, Panic};

use super::Supervisor;
use super::messages::{ChildReport, Pong};
use super::restart_policy::{Heartbeat, HeartbeatAction, RestartPolicy};
use crate::gateway::shared::Shared;
use crate::gateway::snapshot::Snapshot;

/// Starts one instance on an arbiter.
type Start = Box<dyn Fn(&ArbiterHandle, Fence, OnStop) -> Handle>;

/// What differs from actor to actor.
pub struct Entry {
    name: &'static str,
    start: Start,
}

impl Entry {
    /// The actor `name`. `factory` starts an instance on an arbiter; `watch` tells it what there is in a snapshot, at
    /// start, after a reload and after every replacement; `publish` gives its address to those who write to it.
    pub fn new<A: Supervised>(
        name: &'static str,
        factory: impl Fn(&ArbiterHandle, Fence, OnStop) -> Addr<A> + 'static,
        watch: fn(&Addr<A>, &Snapshot),
        publish: fn(Addr<A>, &Shared),
    ) -> Self {
        let start = move |arbiter: &ArbiterHandle, fence: Fence, on_stop: OnStop| {
            let address = factory(arbiter, fence, on_stop);
            let (watched, published) = (address.clone(), address.clone());
            Handle {
                ping: address.clone().recipient(),
                #[cfg(feature = "test-hooks")]
                panic: address.clone().recipient(),
                #[cfg(feature = "test-hooks")]
                hang: address.clone().recipient(),
                watch: Box::new(move |snapshot| watch(&watched, snapshot)),
                publish: Box::new(move |shared| publish(published.clone(), shared)),
                address: Arc::new(address),
            }
        };
        Self { name, start: Box::new(start) }
    }
}

/// What is done with an instance, whatever actor it is of.
struct Handle {
    ping: Recipient<Ping>,
    #[cfg(feature = "test-hooks")]
    panic: Recipient<Panic>,
    #[cfg(feature = "test-hooks")]
    hang: Recipient<Hang>,
    watch: Box<dyn Fn(&Snapshot)>,
    publish: Box<dyn Fn(&Shared)>,
    /// An `Addr` of its type.
    address: Arc<dyn Any + Send + Sync>,
}

/// One supervised actor. Each instance has a thread of its own: one that blocks its thread cannot hold up the
/// others, nor its own successor.
struct Child {
    entry: Entry,
    instances: Instances,
    arbiter: Arbiter,
    handle: Handle,
    instance: u64,
    restarts: u64,
    restart_policy: RestartPolicy,
    heartbeat: Heartbeat,
    waiting: bool,
}

impl Child {
    fn start(entry: Entry, supervisor: &Addr<Supervisor>) -> Self {
        let instances = Instances::default();
        let (arbiter, handle, instance) = launch(&entry, &instances, supervisor);
        let (restart_policy, heartbeat) = (RestartPolicy::default(), Heartbeat::default());
        Self {
            entry,
            instances,
            arbiter,
            handle,
            instance,
            restarts: 0,
            restart_policy,
            heartbeat,
            waiting: false,
        }
    }

    /// The instance is of no use any more; answers how long to wait before the next one is started.
    fn lost(&mut self, how: &str, now: Instant) -> Duration {
        let wait = self.restart_policy.wait(now);
        let (name, instance) = (self.entry.name, self.instance);
        log::error!("actor {name} (instance {instance}) {how}; replaced in {} ms", wait.as_millis());
        self.waiting = true;
        wait
    }

    fn replace(&mut self, supervisor: &Addr<Supervisor>) {
        // The old thread ends when it gets to it; if it hangs, it is left behind, fenced off from publishing.
        self.arbiter.stop();
        (self.arbiter, self.handle, self.instance) = launch(&self.entry, &self.instances, supervisor);
        self.restarts += 1;
        self.heartbeat = Heartbeat::default();
        self.waiting = false;
        log::info!("actor {} runs again as instance {}", self.entry.name, self.instance);
    }

    fn heartbeat(
        &mut self,
        supervisor: &Addr<Supervisor>,
        now: Instant,
        late: bool,
    ) -> Option<(&'static str, Duration)> {
        if self.waiting {
            return None;
        }
        match self.heartbeat.tick(late) {
            HeartbeatAction::Wait => return None,
            HeartbeatAction::Replace => return Some((self.entry.name, self.lost("does not answer", now))),
            HeartbeatAction::Ping => {}
        }
        let (pong, supervisor) =
            (Pong { name: self.entry.name, instance: self.instance }, supervisor.clone());
        let ping = self.handle.ping.send(Ping);
        actix_rt::spawn(async move {
            if ping.await.is_ok() {
                supervisor.do_send(pong);
            }
        });
        None
    }

    fn report(&self) -> ChildReport {
        ChildReport {
            name: self.entry.name,
            instance: self.instance,
            restarts: self.restarts,
            alive: self.handle.ping.connected() && !self.waiting,
        }
    }
}

fn launch(entry: &Entry, instances: &Instances, supervisor: &Addr<Supervisor>) -> (Arbiter, Handle, u64) {
    let arbiter = Arbiter::new();
    let fence = instances.next();
    let instance = fence.instance();
    let supervisor = supervisor.clone();
    let on_stop: OnStop = Box::new(move |stopped| supervisor.do_send(stopped));
    let handle = (entry.start)(&arbiter.handle(), fence, on_stop);
    (arbiter, handle, instance)
}

/// All of them; none before the supervisor has started.
#[derive(Default)]
pub struct Children(Vec<Child>);

impl Children {
    /// Starts the first instance of each.
    pub fn start(entries: impl IntoIterator<Item = Entry>, supervisor: &Addr<Supervisor>) -> Self {
        Self(entries.into_iter().map(|entry| Child::start(entry, supervisor)).collect())
    }

    /// Tells each what there is in a snapshot.
    pub fn watch(&self, snapshot: &Snapshot) {
        self.0.iter().for_each(|child| (child.handle.watch)(snapshot));
    }

    /// Gives each one's address to those who write to it.
    pub fn publish(&self, shared: &Shared) {
        self.0.iter().for_each(|child| (child.handle.publish)(shared));
    }

    /// The instances that there are.
    pub fn addresses(&self) -> Addresses {
        Addresses(self.0.iter().map(|child| child.handle.address.clone()).collect())
    }

    fn named(&mut self, name: &str) -> Option<&mut Child> {
        self.0.iter_mut().find(|child| child.entry.name == name)
    }

    /// An instance has ended: how long to wait before the next one is started, if it is to be.
    pub fn stopped(&mut self, stopped: &Stopped, now: Instant) -> Option<Duration> {
        let child = self.named(stopped.name)?;
        let news = stopped.instance == child.instance && !child.waiting;
        news.then(|| child.lost(if stopped.panicking { "panicked" } else { "stopped" }, now))
    }

    /// Starts the next instance of the named child.
    pub fn replace(&mut self, name: &str, supervisor: &Addr<Supervisor>) {
        self.named(name).into_iter().for_each(|child| child.replace(supervisor));
    }

    /// A heartbeat to each, `late` when the supervisor itself had stalled; answers which are to be replaced, as they have
    /// not answered for too many of them, and after how long.
    pub fn heartbeat(
        &mut self,
        supervisor: &Addr<Supervisor>,
        now: Instant,
        late: bool,
    ) -> Vec<(&'static str, Duration)> {
        self.0.iter_mut().filter_map(|child| child.heartbeat(supervisor, now, late)).collect()
    }

    /// A heartbeat was answered.
    pub fn pong(&mut self, pong: &Pong) {
        let answering = self.named(pong.name).filter(|child| child.instance == pong.instance);
        answering.into_iter().for_each(|child| child.heartbeat.answered());
    }

    /// For the status page.
    pub fn report(&self) -> Vec<ChildReport> {
        self.0.iter().map(Child::report).collect()
    }

    /// Makes one of them panic or hang.
    #[cfg(feature = "test-hooks")]
    pub fn inject_fault(&mut self, fault: &super::messages::InjectFault) -> bool {
        let Some(Child { handle, .. }) = self.named(&fault.actor) else { return false };
        match fault.hang {
            None => handle.panic.do_send(Panic),
            Some(time) => handle.hang.do_send(Hang(time)),
        }
        true
    }
}

/// The address of each actor's current instance, by its type.
pub struct Addresses(Vec<Arc<dyn Any + Send + Sync>>);

impl Addresses {
    /// That of one; `None` before the supervisor has started it.
    pub fn of<A: Actor>(&self) -> Option<&Addr<A>> {
        self.0.iter().find_map(|address| address.downcast_ref())
    }
}
