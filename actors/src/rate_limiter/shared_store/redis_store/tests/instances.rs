//! Who lives.

use super::servers::Server;
use super::*;

#[actix_rt::test]
async fn instances_are_counted_while_they_tell_that_they_live() {
    let server = Server::start(&[]);
    let (first, second) = (named(&server.url(), "first"), named(&server.url(), "second"));
    assert_eq!(count(&first).await, 1);
    assert_eq!(count(&second).await, 2);
    assert_eq!(count(&first).await, 2);
    until("the second to be gone", ms(2000), async || {
        second.unregister().await;
        (count(&first).await == 1).then_some(())
    })
    .await;
}

#[actix_rt::test]
async fn an_instance_that_fell_silent_is_forgotten() {
    let server = Server::start(&[]);
    let (first, second) = (named(&server.url(), "first"), named(&server.url(), "second"));
    let begun = Instant::now();
    assert_eq!(count(&second).await, 1);
    until("the silent one to be forgotten", ms(8000), async || (count(&first).await == 1).then_some(()))
        .await;
    let took = begun.elapsed();
    assert!(took > ms(4900) && took < ms(10_000), "{took:?}");
    let ttl: u64 = server.ask("PTTL test:instances");
    assert!((1..=5_000).contains(&ttl), "{ttl}");
}

async fn count(store: &RedisStore) -> u64 {
    until("a count", ms(5000), async || store.register().await.ok()).await
}
