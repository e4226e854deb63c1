//! Nothing is buffered that need not be: events, early answers, large bodies, slow readers (section 6; A4).

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use crate::harness::{Backend, Call, Gate, Gateway, SOON, Then, Upstream, eventually, holds_for};

const MIB: u64 = 1 << 20;

/// 256 MiB, or 1 GiB with `AEGIS_TEST_BIG=1`.
fn big() -> u64 {
    if std::env::var_os("AEGIS_TEST_BIG").is_some() { 1024 * MIB } else { 256 * MIB }
}

fn unlimited(upstream: &Upstream) -> Gateway {
    Gateway::builder()
        .server("bodyLimitBytes: 0")
        .backend(Backend::all(upstream).with("timeout: 120s"))
        .measuring_memory()
        .start()
}

#[test]
fn server_sent_events_reach_the_client_one_by_one() {
    let gates: Arc<[Gate; 3]> = Arc::default();
    let theirs = Arc::clone(&gates);
    let upstream = Upstream::start(move |exchange| {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
        exchange.answer(head, Then::Keep)?;
        for (i, gate) in theirs.iter().enumerate() {
            exchange.wire.write(format!("9\r\ndata: {i}\n\n\r\n"))?;
            gate.wait();
        }
        exchange.wire.write("0\r\n\r\n")?;
        Ok(Then::Keep)
    });
    let gateway = Gateway::with(Backend::all(&upstream).with("firstByteTimeoutMs: 2000"));
    let mut client = gateway.client();
    client.start(&Call::get("/events"));
    let response = client.read_head("GET").unwrap();
    assert_eq!(response.header("content-type"), Some("text/event-stream"));
    for (i, gate) in gates.iter().enumerate() {
        // The next event is not sent before this one has arrived.
        let event = client.wire().through(b"\n\n").unwrap().unwrap();
        assert!(event.ends_with(format!("data: {i}\n\n").as_bytes()), "{event:?}");
        gate.open();
    }
}

#[test]
fn an_early_answer_to_a_large_upload_reaches_the_client() {
    for reads_on in [true, false] {
        let answered = Gate::new();
        let theirs = answered.clone();
        let upstream = Upstream::start(move |exchange| {
            exchange.wire.write("HTTP/1.1 403 No\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")?;
            if reads_on {
                exchange.wait_for_close();
                return Ok(Then::Drop);
            }
            // Reads nothing more and leaves the connection open.
            theirs.wait();
            Ok(Then::Drop)
        });
        let gateway = unlimited(&upstream);
        let mut client = gateway.client();
        let (sender, receiver) = mpsc::channel();
        client.write(format!("POST /up HTTP/1.1\r\nHost: a.test\r\nContent-Length: {}\r\n\r\n", 64 * MIB));
        let mut upload = client.wire().tcp().try_clone().unwrap();
        let writer = thread::spawn(move || {
            let chunk = vec![b'x'; 65536];
            let sent =
                (0..1024).take_while(|_| std::io::Write::write_all(&mut upload, &chunk).is_ok()).count();
            sender.send(sent).unwrap();
        });
        let response = client.read("POST").unwrap_or_else(|e| panic!("reads_on {reads_on}: {e:?}"));
        assert_eq!((response.status, response.text().as_str()), (403, "no"), "reads_on {reads_on}");
        answered.open();
        drop(client.into_wire().tcp().shutdown(std::net::Shutdown::Both));
        let _ = receiver.recv_timeout(SOON).expect("the upload ends");
        writer.join().unwrap();
    }
}

#[test]
fn an_upload_goes_on_behind_an_answer_that_has_begun() {
    let upstream = Upstream::start(|exchange| {
        exchange.wire.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
        let body = exchange.body()?;
        exchange.wire.write(format!("{:x}\r\n", body.len()))?;
        exchange.wire.write(&body)?;
        exchange.wire.write("\r\n0\r\n\r\n")?;
        Ok(Then::Keep)
    });
    let gateway = Gateway::with(Backend::all(&upstream));
    let mut client = gateway.client();
    client.write("POST /x HTTP/1.1\r\nHost: a.test\r\nContent-Length: 300000\r\n\r\nbegun");
    let response = client.read_head("POST").unwrap();
    assert!(response.status == 200 && !response.keeps_alive(), "{response:?}");
    let rest: String = (0..299_995).map(|i| char::from(b'a' + (i % 26) as u8)).collect();
    client.write(&rest);
    let mut body = Vec::new();
    client.wire().body(response.framing, &mut |piece| body.extend_from_slice(piece)).unwrap();
    assert!(body == format!("begun{rest}").as_bytes(), "{} bytes", body.len());
}

#[test]
fn large_bodies_stream_both_ways_in_bounded_memory() {
    let size = big();
    let upstream = Upstream::start(move |exchange| {
        if exchange.method() == "POST" {
            let counted = exchange.count_body()?;
            return exchange.ok(&counted.to_string());
        }
        exchange.answer(format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n"), Then::Keep)?;
        let chunk = vec![b'd'; MIB as usize];
        (0..size / MIB).try_for_each(|_| exchange.wire.write(&chunk))?;
        Ok(Then::Keep)
    });
    let gateway = unlimited(&upstream);
    let mut client = gateway.client();

    client.write(format!("POST /up HTTP/1.1\r\nHost: a.test\r\nContent-Length: {size}\r\n\r\n"));
    let chunk = vec![b'u'; MIB as usize];
    for _ in 0..size / MIB {
        client.wire().write(&chunk).expect("the upload goes on");
    }
    assert_eq!(client.read("POST").unwrap().text(), size.to_string());

    client.start(&Call::get("/down"));
    let head = client.read_head("GET").unwrap();
    let pattern = vec![b'd'; 65536];
    let (mut arrived, mut foreign) = (0, 0);
    client
        .wire()
        .body(head.framing, &mut |piece| {
            arrived += piece.len() as u64;
            foreign += usize::from(piece.chunks(pattern.len()).any(|part| part != &pattern[..part.len()]));
        })
        .unwrap();
    assert_eq!((arrived, foreign), (size, 0));
    assert!(gateway.peak_memory() < 64 * MIB, "{} MiB", gateway.peak_memory() / MIB);
}

#[test]
fn a_client_that_does_not_read_holds_the_upstream_back() {
    let sent = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&sent);
    let upstream = Upstream::start(move |exchange| {
        exchange.answer(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 64 * MIB), Then::Keep)?;
        let chunk = vec![b'd'; 65536];
        for _ in 0..1024 {
            exchange.wire.write(&chunk)?;
            counter.fetch_add(65536, Relaxed);
        }
        Ok(Then::Keep)
    });
    let gateway = unlimited(&upstream);
    let mut client = gateway.client();
    client.start(&Call::get("/down"));
    let still = || {
        let before = sent.load(Relaxed);
        before > 0 && holds_for(Duration::from_millis(300), || sent.load(Relaxed) == before)
    };
    assert!(eventually(SOON, still), "the upstream is never held back");
    assert!(sent.load(Relaxed) < 48 * MIB, "{} MiB were taken from the upstream", sent.load(Relaxed) / MIB);
    assert!(gateway.peak_memory() < 64 * MIB, "{} MiB", gateway.peak_memory() / MIB);
    assert_eq!(client.read("GET").unwrap().body.len() as u64, 64 * MIB, "and nothing was lost");
}

#[test]
fn an_upstream_that_does_not_read_holds_the_client_back() {
    let gate = Gate::new();
    let theirs = gate.clone();
    let upstream = Upstream::start(move |exchange| {
        theirs.wait();
        let counted = exchange.count_body()?;
        exchange.ok(&counted.to_string())
    });
    let gateway = unlimited(&upstream);
    assert_eq!(gateway.get("/health").status, 200);
    // The program itself: with debug information it is most of what is there.
    let before = gateway.peak_memory();
    let mut client = gateway.client();
    client.write(format!("POST /up HTTP/1.1\r\nHost: a.test\r\nContent-Length: {}\r\n\r\n", 64 * MIB));
    let sent = Arc::new(AtomicU64::new(0));
    let (counter, mut upload) = (Arc::clone(&sent), client.wire().tcp().try_clone().unwrap());
    let writer = thread::spawn(move || {
        for _ in 0..1024 {
            std::io::Write::write_all(&mut upload, &[b'u'; 65536]).unwrap();
            counter.fetch_add(65536, Relaxed);
        }
    });
    let still = || {
        let before = sent.load(Relaxed);
        before > 0 && holds_for(Duration::from_millis(300), || sent.load(Relaxed) == before)
    };
    assert!(eventually(SOON, still), "the client is never held back");
    assert!(sent.load(Relaxed) < 48 * MIB, "{} MiB were taken from the client", sent.load(Relaxed) / MIB);
    gate.open();
    assert_eq!(client.read("POST").unwrap().text(), (64 * MIB).to_string());
    writer.join().unwrap();
    let grown = gateway.peak_memory() - before;
    assert!(grown < 32 * MIB, "{} MiB more for an upload of 64 MiB", grown / MIB);
}

#[test]
fn a_streamed_upload_that_outlasts_the_timeout_still_gets_its_answer_whole() {
    const PIECE: usize = 20_000;
    let (heads, upstream) = answering_in_two_steps();
    let backend = Backend::all(&upstream).with("timeout: 700ms").with("retries: 0");
    let gateway = Gateway::with(backend);
    for chunked in [false, true] {
        let mut client = gateway.client();
        let framing = if chunked {
            "Transfer-Encoding: chunked".into()
        } else {
            format!("Content-Length: {}", 10 * PIECE)
        };
        client.write(format!("POST /up HTTP/1.1\r\nHost: a.test\r\n{framing}\r\n\r\n"));
        for i in 0..10 {
            if i >= 4 {
                thread::sleep(Duration::from_millis(250)); // the pace of the upload, beyond the first 64 KiB
            }
            let data = "u".repeat(PIECE);
            let piece = if chunked { format!("{PIECE:x}\r\n{data}\r\n") } else { data };
            client.wire().write(piece).expect("the upload goes on");
        }
        client.write(if chunked { "0\r\n\r\n" } else { "" });
        let head = client.read_head("POST").unwrap_or_else(|e| panic!("{framing}: {e:?}"));
        assert_eq!(head.status, 200, "{framing}: {head:?}");
        thread::sleep(Duration::from_millis(200)); // the head and the body of the answer arrive apart
        heads.send(()).unwrap();
        let mut body = Vec::new();
        let end = client.wire().body(head.framing, &mut |piece| body.extend_from_slice(piece));
        assert!(end.is_ok(), "{framing}: {end:?} after {body:?}");
        assert_eq!(String::from_utf8_lossy(&body), format!("{} bytes", 10 * PIECE), "{framing}");
        assert_eq!(client.get("/down").text(), "next", "{framing}");
    }
}

/// An upstream that reads a body to its end, sends the head of its answer, and the rest only when told that the client
/// has the head.
fn answering_in_two_steps() -> (mpsc::Sender<()>, Upstream) {
    let (sender, receiver) = mpsc::channel();
    let receiver = Mutex::new(receiver);
    let upstream = Upstream::start(move |exchange| {
        if exchange.method() != "POST" {
            return exchange.ok("next");
        }
        let body = format!("{} bytes", exchange.count_body()?);
        exchange.wire.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()))?;
        let _ = receiver.lock().unwrap().recv_timeout(SOON);
        exchange.wire.write(body)?;
        Ok(Then::Keep)
    });
    (sender, upstream)
}
