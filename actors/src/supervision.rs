//! What the supervisor needs of every actor: a death notice, a heartbeat, and a fence against ghosts.
//!
//! actix restarts only an actor that stops by itself; after a panic its address is dead for good and messages
//! to it vanish. So each actor here tells of its end from `stopped()`, which runs on unwinding too, answers
//! [`Ping`], and asks its [`Fence`] before it publishes, so that an instance that hung, was replaced and woke
//! up again changes nothing. The supervisor itself lives in the root crate.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix::{Actor, Context, Handler, Message};

/// The notice that an actor's instance has ended.
#[derive(Clone, Debug, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct Stopped {
    /// The actor's `NAME`, such as `circuit_breaker`.
    pub name: &'static str,
    /// Which instance ended; anything but the current one is old news.
    pub instance: u64,
    /// True when it ended by a panic.
    pub panicking: bool,
}

impl Stopped {
    /// The notice of the instance that is ending on this thread right now.
    pub(crate) fn now(name: &'static str, fence: &Fence) -> Self {
        Self { name, instance: fence.instance(), panicking: std::thread::panicking() }
    }
}

/// Called once when an instance ends, on the actor's thread and possibly while it unwinds: it must not panic
/// (a second panic aborts the process) and should only post a message.
pub type OnStop = Box<dyn Fn(Stopped) + Send>;

/// The heartbeat: an answer, whatever it is, shows that the mailbox is still worked off.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Ping;

/// An actor that the supervisor can start, ping and replace; implemented by `supervised!`.
#[cfg(not(feature = "test-hooks"))]
pub trait Supervised: Actor<Context = Context<Self>> + Handler<Ping> {}

/// Likewise; in test builds it can be told to panic or hang.
#[cfg(feature = "test-hooks")]
pub trait Supervised:
    Actor<Context = Context<Self>> + Handler<Ping> + Handler<Panic> + Handler<Hang>
{
}

/// The succession of one actor's instances, kept by its factory. Starts with none.
#[derive(Clone, Debug, Default)]
pub struct Instances(Arc<AtomicU64>);

impl Instances {
    /// The fence of the next instance, counted from 1. From this moment on no earlier one may publish.
    pub fn next(&self) -> Fence {
        let own = self.0.fetch_add(1, Ordering::AcqRel) + 1;
        Fence { current: self.0.clone(), own }
    }
}

/// One instance's right to publish; it ends when [`Instances::next`] is called.
///
/// The question and the publication that follows are two steps. An instance that is preempted exactly between
/// them while it is being replaced could still publish once; a replacement takes seconds, that gap nanoseconds.
#[derive(Clone, Debug)]
pub struct Fence {
    current: Arc<AtomicU64>,
    own: u64,
}

impl Fence {
    /// The number of the instance that holds this fence.
    pub fn instance(&self) -> u64 {
        self.own
    }

    /// False once a newer instance has been announced.
    pub fn is_current(&self) -> bool {
        self.current.load(Ordering::Acquire) == self.own
    }
}

/// `duration` after `now`; anything beyond a year is a year, because `Instant` panics when it overflows.
pub(crate) fn saturating_deadline(now: std::time::Instant, duration: Duration) -> std::time::Instant {
    now + duration.min(Duration::from_secs(365 * 24 * 3600))
}

#[cfg(feature = "test-hooks")]
static HANDLED: AtomicU64 = AtomicU64::new(0);

/// Counts one handled message; does nothing outside test builds.
#[inline]
pub fn count_message() {
    #[cfg(feature = "test-hooks")]
    HANDLED.fetch_add(1, Ordering::Relaxed);
}

/// Messages handled by all actors of this process since it started; test builds only.
#[cfg(feature = "test-hooks")]
pub fn message_count() -> u64 {
    HANDLED.load(Ordering::Relaxed)
}

/// Makes an actor panic in its handler; test builds only.
#[cfg(feature = "test-hooks")]
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Panic;

/// Makes an actor block its thread for that long; test builds only.
#[cfg(feature = "test-hooks")]
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Hang(pub Duration);

/// Implements [`Supervised`], and the handlers that it asks for: [`Ping`] and, in test builds, [`Panic`] and [`Hang`].
///
/// An actor with parameters writes them in front: `supervised!(for [K: Keys] IdentityActor<K>)`.
macro_rules! supervised {
    (for [$($parameters:tt)*] $actor:ty) => {
        impl<$($parameters)*> $crate::supervision::Supervised for $actor {}

        impl<$($parameters)*> actix::Handler<$crate::supervision::Ping> for $actor {
            type Result = ();

            fn handle(&mut self, _: $crate::supervision::Ping, _: &mut Self::Context) {
                $crate::supervision::count_message();
            }
        }

        #[cfg(feature = "test-hooks")]
        impl<$($parameters)*> actix::Handler<$crate::supervision::Panic> for $actor {
            type Result = ();

            fn handle(&mut self, _: $crate::supervision::Panic, _: &mut Self::Context) {
                panic!("a test asked {} to panic", Self::NAME);
            }
        }

        #[cfg(feature = "test-hooks")]
        impl<$($parameters)*> actix::Handler<$crate::supervision::Hang> for $actor {
            type Result = ();

            fn handle(&mut self, msg: $crate::supervision::Hang, _: &mut Self::Context) {
                std::thread::sleep(msg.0);
            }
        }
    };
    ($actor:ty) => {
        supervised!(for [] $actor);
    };
}

pub(crate) use supervised;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_instance_fences_off_the_one_before() {
        let instances = Instances::default();
        let first = instances.next();
        assert!(first.is_current());
        let second = instances.next();
        assert!(!first.is_current());
        assert!(second.is_current());
        assert_eq!((first.instance(), second.instance()), (1, 2));
    }
}
