//! What the actor understands.

use std::sync::Arc;

use actix::Message;
use tokio::sync::oneshot;

use super::provider::{Keys, Provider};

/// The complete set of providers. Those that are not listed are forgotten; one that is new is asked at once.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct Watch<K: Keys> {
    /// Each with what is published of it.
    pub providers: Vec<Arc<Provider<K>>>,
}

/// A token names a key that is not there, or there are no keys at all.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Ask<K: Keys> {
    /// Whose token it is.
    pub provider: Arc<Provider<K>>,
    /// The key that it names; `None`: any.
    pub kid: Option<String>,
    /// Told when there is nothing more to wait for. Closed where nobody will know.
    pub reply: oneshot::Sender<()>,
}
