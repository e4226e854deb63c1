//! PostgreSQL behind a pooler that gives a server's connection to another client after each transaction, as PgBouncer does
//! with `pool_mode = transaction`.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;

use super::sample::*;
use super::*;

/// One message: its type and all of it. The first of a connection has no type.
fn message(from: &mut TcpStream, typed: bool) -> Option<(u8, Vec<u8>)> {
    let mut head = vec![0; if typed { 5 } else { 4 }];
    from.read_exact(&mut head).ok()?;
    let length = u32::from_be_bytes(head[head.len() - 4..].try_into().unwrap()) as usize;
    let begin = head.len();
    head.resize(begin + length - 4, 0);
    from.read_exact(&mut head[begin..]).ok()?;
    Some((head[0], head))
}

/// Connections to the server, taken in turn.
struct Pool {
    back: mpsc::Sender<TcpStream>,
    idle: Mutex<mpsc::Receiver<TcpStream>>,
    /// What a server says of itself when a connection is ready.
    greeting: Vec<u8>,
}

impl Pool {
    fn new(port: u16, database: &str, size: usize) -> Self {
        let (back, idle) = mpsc::channel();
        let mut greeting = Vec::new();
        for _ in 0..size {
            let mut server = TcpStream::connect(("127.0.0.1", port)).unwrap();
            server.set_nodelay(true).unwrap();
            let parameters = format!("user\0aegis\0database\0{database}\0\0");
            let mut start = ((parameters.len() + 8) as u32).to_be_bytes().to_vec();
            start.extend(196_608_u32.to_be_bytes());
            start.extend(parameters.bytes());
            server.write_all(&start).unwrap();
            greeting.clear();
            while let Some((kind, text)) = message(&mut server, true) {
                assert_ne!(kind, b'E', "{}", String::from_utf8_lossy(&text));
                greeting.extend(text);
                if kind == b'Z' {
                    break;
                }
            }
            back.send(server).unwrap();
        }
        Self { back, idle: Mutex::new(idle), greeting }
    }

    /// One client, until it goes.
    fn serve(&self, mut client: TcpStream) -> Option<()> {
        client.set_nodelay(true).ok()?;
        // No TLS here.
        while message(&mut client, false)?.1[4..] == 80_877_103_u32.to_be_bytes() {
            client.write_all(b"N").ok()?;
        }
        client.write_all(&self.greeting).ok()?;
        loop {
            let (mut kind, mut text) = message(&mut client, true)?;
            let mut server = self.idle.lock().unwrap().recv().ok()?;
            loop {
                // Everything up to where an answer is due.
                while !matches!(kind, b'Q' | b'S' | b'X') {
                    server.write_all(&text).ok()?;
                    (kind, text) = message(&mut client, true)?;
                }
                if kind == b'X' {
                    return Some(());
                }
                server.write_all(&text).ok()?;
                let state = loop {
                    let (kind, text) = message(&mut server, true)?;
                    client.write_all(&text).ok()?;
                    if kind == b'Z' {
                        break text[5];
                    }
                };
                if state == b'I' {
                    break;
                }
                (kind, text) = message(&mut client, true)?;
            }
            self.back.send(server).ok()?;
        }
    }
}

/// A pooler before a database; its URL.
fn pooled(url: &str, size: usize) -> String {
    let (authority, database) = url.strip_prefix("postgres://aegis@").unwrap().split_once('/').unwrap();
    let port: u16 = authority.rsplit_once(':').unwrap().1.parse().unwrap();
    let pool = Arc::new(Pool::new(port, database, size));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // Ends with the process of the test.
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let pool = pool.clone();
            std::thread::spawn(move || pool.serve(client));
        }
    });
    format!("postgres://aegis@{address}/{database}")
}

#[test]
fn a_pooler_may_change_the_connection_after_each_transaction() {
    let database = Database::postgres();
    let url = pooled(&database.url, 3);
    let clock = Clock::at(T + 10);
    // Two processes prepare statements of the same names; here it is two stores, and the first two connections of each.
    let stores: Vec<Store> = (0..2).map(|_| Store::open(&url, database.options(&clock)).unwrap()).collect();
    let mut truth = Truth::default();
    for round in 0..8 {
        let start = T + round * 10;
        clock.set(start + 10);
        for (store, name) in stores.iter().zip(["a", "b"]) {
            let mut batch = rollups(vec![rollup(start, some_series(round as usize), tally(3, round as u64))]);
            batch.samples = vec![sample(start * 1_000, &format!("{name}{round}"))];
            truth.write(&writer(name, "1"), &batch);
            wait(store.write_batch(writer(name, "1"), batch));
            assert_eq!(wait(store.samples(1, Wanted::default())).len(), 1);
        }
        let asked: Vec<_> = stores
            .iter()
            .flat_map(|store| [store.samples(5, Wanted::default()), store.samples(5, Wanted::default())])
            .collect();
        let told = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
            .block_on(futures_util::future::join_all(asked));
        assert!(told.iter().all(Result::is_ok), "{told:?}");
        wait(stores[round as usize % 2].maintain());
    }
    truth.check(&stores[0], Range { from: T, to: T + 3_600 }, 10);
    // Nothing is left behind for whoever gets the connection next.
    let limit = "SELECT setting AS line FROM pg_settings WHERE name = 'statement_timeout'";
    assert_eq!(database.ask(limit), ["0"]);
}
