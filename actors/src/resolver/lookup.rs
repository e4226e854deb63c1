//! How a name becomes addresses.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;

/// A look-up in flight: `Err` says in a phrase for operators what was wrong.
pub type LookupFuture = Pin<Box<dyn Future<Output = Result<Vec<SocketAddr>, String>>>>;

/// Asks the name service. Need not be `Send`: it lives and dies on the actor's thread.
pub trait Lookup {
    /// All addresses of `host`, with `port`, most preferred first.
    fn lookup(&self, host: String, port: u16) -> LookupFuture;
}

/// Makes the [`Lookup`] on the actor's thread.
pub type LookupFactory = Box<dyn FnOnce() -> Box<dyn Lookup> + Send>;

/// The operating system's resolver, on tokio's pool of blocking threads.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemLookup;

impl SystemLookup {
    /// The factory that the server uses.
    pub fn factory() -> LookupFactory {
        Box::new(|| Box::new(SystemLookup))
    }
}

impl Lookup for SystemLookup {
    fn lookup(&self, host: String, port: u16) -> LookupFuture {
        Box::pin(async move {
            let found = tokio::net::lookup_host((host.as_str(), port)).await;
            found.map(Iterator::collect).map_err(|error| error.to_string())
        })
    }
}
