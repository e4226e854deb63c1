//! Ports for servers that are killed and come back.

/// A free port of 127.0.0.1 that no outgoing connection is given meanwhile: below those the system gives out by itself.
pub fn free_port() -> u16 {
    let free = |port: &u16| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok();
    std::iter::repeat_with(|| fastrand::u16(10_000..30_000)).take(1000).find(free).expect("a free port")
}
