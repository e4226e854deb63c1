//! A worker's handle on an actor that may be replaced.
//!
//! `try_send` knows that a mailbox is full only through a handle that lives on; one is therefore kept per worker and
//! actor instance, and made anew when the supervisor has published another.

use std::cell::RefCell;
use std::sync::Arc;

use actix::dev::SendError;
use actix::{Message, Recipient};
use arc_swap::ArcSwapOption;

/// Where the supervisor publishes an actor's current address.
pub type Published<M> = ArcSwapOption<Recipient<M>>;

/// See the module.
pub struct ActorHandle<M: Message<Result = ()> + Send + 'static> {
    current: RefCell<Option<Handle<M>>>,
}

/// A worker's own handle, and the published one that it was made from.
struct Handle<M: Message<Result = ()> + Send + 'static> {
    published: Arc<Recipient<M>>,
    own: Recipient<M>,
}

impl<M: Message<Result = ()> + Send + 'static> Default for ActorHandle<M> {
    fn default() -> Self {
        Self { current: RefCell::default() }
    }
}

impl<M: Message<Result = ()> + Send + 'static> ActorHandle<M> {
    /// Sends without waiting.
    ///
    /// # Errors
    /// The message, when the mailbox is full, its actor dead, or none is published.
    pub fn send(&self, published: &Published<M>, message: M) -> Result<(), M> {
        let Some(newest) = published.load_full() else { return Err(message) };
        let mut current = self.current.borrow_mut();
        if !current.as_ref().is_some_and(|handle| Arc::ptr_eq(&handle.published, &newest)) {
            let own = Recipient::clone(&newest);
            *current = Some(Handle { published: newest, own });
        }
        match current.as_ref().map(|handle| handle.own.try_send(message)) {
            Some(Err(SendError::Full(message) | SendError::Closed(message))) => Err(message),
            Some(Ok(())) | None => Ok(()),
        }
    }
}
