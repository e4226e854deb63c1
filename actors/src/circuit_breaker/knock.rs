//! Whether somebody takes connections where they were refused: a connection that carries nothing.
//!
//! A service that starts again is back when it listens, and the pause of its breaker, which grows, may have just
//! begun then. A request would find out only by failing.

use std::time::Duration;

use tokio::net::TcpStream;

use crate::target::TargetState;

/// How long one address may take.
const PATIENCE: Duration = Duration::from_millis(500);

/// Tries the target's addresses after `wait`, one after the other.
pub(super) async fn knock(shared: &TargetState, wait: Duration) -> bool {
    actix_rt::time::sleep(wait).await;
    for address in shared.addresses.load_full().iter() {
        let connecting = tokio::time::timeout(PATIENCE, TcpStream::connect(address));
        if connecting.await.is_ok_and(|connected| connected.is_ok()) {
            return true;
        }
    }
    false
}
