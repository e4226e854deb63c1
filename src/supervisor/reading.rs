//! Reading files on a thread of its own, one read at a time.
//!
//! A network file system that does not answer blocks its reader for as long as it likes, and the main thread has signals
//! and actors to serve. Nothing waits for a blocked reader: no second read begins beside it, whoever asked gets an error
//! after a timeout, and the process ends without it.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::{Mutex, OwnedMutexGuard, oneshot};

/// Disks answer within it, however busy they are.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// Why nothing was read.
#[derive(Debug, Error)]
#[error(
    "the files of the configuration are not read: {0}; does the file system that they are on answer? The running \
     configuration stays until it does"
)]
pub(super) struct Unread(String);

/// The right to read, and to do something with what was read before anybody else reads.
pub(super) type Turn = OwnedMutexGuard<()>;

/// See the module.
pub(super) struct Reader {
    turns: Arc<Mutex<()>>,
    timeout: Duration,
}

impl Default for Reader {
    fn default() -> Self {
        Self { turns: Arc::default(), timeout: READ_TIMEOUT }
    }
}

impl Reader {
    /// A turn, unless somebody else has it.
    pub fn turn_now(&self) -> Option<Turn> {
        self.turns.clone().try_lock_owned().ok()
    }

    /// The next turn.
    pub fn turn(&self) -> impl Future<Output = Result<Turn, Unread>> + use<> {
        let (turn, timeout) = (self.turns.clone().lock_owned(), self.timeout);
        async move {
            let late = |_| Unread(format!("those who read them before have not ended within {timeout:?}"));
            tokio::time::timeout(timeout, turn).await.map_err(late)
        }
    }

    /// Reads on a thread of its own. What arrives after the timeout is dropped, but the turn is held until then.
    pub fn read<T: Send + 'static, R: FnOnce() -> T + Send + 'static>(
        &self,
        turn: Turn,
        read: R,
    ) -> impl Future<Output = Result<(T, Turn), Unread>> + use<T, R> {
        let (tell, told) = oneshot::channel();
        // Not `spawn_blocking`: the runtime waits for those threads when it ends.
        let begun = std::thread::Builder::new().name("reader".to_owned()).spawn(move || {
            let _ = tell.send((read(), turn));
        });
        let timeout = self.timeout;
        async move {
            let trouble = match begun {
                Err(error) => format!("no thread for it: {error}"),
                Ok(_) => match tokio::time::timeout(timeout, told).await {
                    Ok(Ok(done)) => return Ok(done),
                    Ok(Err(_)) => "the thread has panicked".to_owned(),
                    Err(_) => format!("no answer within {timeout:?}"),
                },
            };
            let unread = Unread(trouble);
            log::warn!("{unread}");
            Err(unread)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[actix_rt::test]
    async fn while_one_read_hangs_no_other_is_begun_and_nobody_waits_for_it() {
        let reader = Reader { timeout: Duration::from_millis(20), ..Reader::default() };
        let (release, held) = mpsc::channel::<()>();
        let turn = reader.turn_now().expect("nobody reads");
        let hanging = reader.read(turn, move || held.recv().is_ok());
        assert!(hanging.await.is_err(), "who asked is told");
        assert!(reader.turn_now().is_none() && reader.turn().await.is_err(), "it still has its turn");
        release.send(()).expect("the thread waits");
        let turn = Reader { turns: reader.turns.clone(), timeout: Duration::from_secs(30) }.turn().await;
        let (read, _turn) = reader.read(turn.expect("it has ended"), || 7).await.expect("it is read");
        assert_eq!(read, 7);
        assert!(reader.turn_now().is_none(), "until something is done with it");
    }

    #[actix_rt::test]
    async fn a_read_that_panics_gives_its_turn_back() {
        let reader = Reader::default();
        let turn = reader.turn_now().expect("nobody reads");
        assert!(reader.read(turn, || panic!("in a test")).await.is_err());
        assert!(reader.turn().await.is_ok());
    }
}
