//! Websockets and other upgrades (section 6; A7).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use crate::harness::{
    Backend, Broken, Builder, Call, Frame, Framing, Gate, Gateway, Opcode, SOON, Then, Upstream, WebSocket,
    backend_status, echo_websocket, eventually, upgrade_request,
};

fn echoing() -> (Upstream, Builder) {
    let upstream = Upstream::start(echo_websocket);
    let builder = Gateway::builder().backend(Backend::named("main").to(&upstream).route("/ws/**"));
    (upstream, builder)
}

#[test]
fn messages_of_every_kind_and_size_come_back_as_they_were_sent() {
    let (_upstream, builder) = echoing();
    let gateway = builder.start();
    let mut socket = WebSocket::open(gateway.addr, "/ws/echo");
    let bytes: Vec<u8> = (0..1 << 20).map(|i: u32| (i % 251) as u8).collect();
    for frame in [
        Frame::new(Opcode::Text, "hello"),
        Frame::new(Opcode::Text, "grüße"),
        Frame::new(Opcode::Binary, [0, 255, 1, 254]),
        Frame::new(Opcode::Binary, ""),
        Frame::new(Opcode::Binary, &bytes[..125]),
        Frame::new(Opcode::Binary, &bytes[..126]),
        Frame::new(Opcode::Binary, &bytes[..65536]),
        Frame::new(Opcode::Binary, bytes.as_slice()),
        Frame { fin: false, opcode: Opcode::Text, payload: b"in two".to_vec() },
        Frame::new(Opcode::Continuation, " parts"),
    ] {
        socket.send(&frame);
        assert!(socket.read() == frame, "{:?} of {} bytes", frame.opcode, frame.payload.len());
    }
}

#[test]
fn pings_and_pongs_pass_both_ways() {
    let (_upstream, builder) = echoing();
    let gateway = builder.start();
    let mut socket = WebSocket::open(gateway.addr, "/ws/echo");
    socket.send(&Frame::new(Opcode::Ping, "from the client"));
    assert_eq!(socket.read(), Frame::new(Opcode::Pong, "from the client"));
    socket.text("ping me");
    assert_eq!(socket.read(), Frame::new(Opcode::Ping, "are you there"));
    socket.send(&Frame::new(Opcode::Pong, "here"));
    assert_eq!(socket.read(), Frame::new(Opcode::Pong, "here"), "the upstream echoes the pong that it got");
}

#[test]
fn close_codes_pass_and_then_the_connection_ends() {
    let (upstream, builder) = echoing();
    let gateway = builder.start();
    for (code, reason) in [(1000, ""), (1001, "away"), (3001, "why"), (4999, "mine")] {
        let mut socket = WebSocket::open(gateway.addr, "/ws/echo");
        socket.send(&Frame::close(code, reason));
        assert_eq!(socket.read(), Frame::close(code, reason));
        assert!(socket.ends(), "{code}");
    }
    assert!(eventually(SOON, || upstream.open() == 0));
    assert!(eventually(SOON, || gateway.in_flight() == 0));
}

#[test]
fn the_handshake_reaches_the_upstream_with_subprotocols_extensions_and_cookies() {
    let (upstream, builder) = echoing();
    let gateway = builder.start();
    let call = upgrade_request("/ws/echo?a=%2F&b")
        .header("Sec-WebSocket-Protocol", "v1, v2")
        .header("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits")
        .header("Origin", "http://o.test")
        .header("Cookie", "a=b");
    let socket = WebSocket::open_with(gateway.addr, &call);
    assert_eq!(socket.handshake.header("sec-websocket-protocol"), Some("v2"));
    assert_eq!(socket.handshake.header("sec-websocket-extensions"), None, "what the upstream did not accept");
    let seen = upstream.last();
    assert_eq!(seen.target, "/ws/echo?a=%2F&b");
    for (name, value) in [
        ("Sec-WebSocket-Protocol", "v1, v2"),
        ("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits"),
        ("Origin", "http://o.test"),
        ("Cookie", "a=b"),
        ("X-Forwarded-For", "127.0.0.1"),
    ] {
        assert_eq!(seen.head.get(name), Some(value), "{name}");
    }
    assert!(seen.head.get("x-request-id").is_some());
}

#[test]
fn an_upgrade_goes_through_the_same_stages_as_every_request() {
    let upstream = Upstream::start(echo_websocket);
    let backend = Backend::named("main").to(&upstream).route("/ws/**").route("{path: /ws/no, deny: true}");
    let gateway = Gateway::with(backend);
    for (target, status, reason) in
        [("/nothing", 404, "no_route"), ("/ws/no", 403, "denied"), ("/ws/..%2fx", 400, "bad_path")]
    {
        gateway.send(&upgrade_request(target)).assert_problem(status, reason);
    }
    assert_eq!(upstream.count(), 0);
}

#[test]
fn an_answer_other_than_101_is_passed_back_and_what_follows_is_a_request_again() {
    let upstream = Upstream::start(|exchange| match exchange.target() {
        "/no" => exchange.reply(403, &[("X-Why", "not today")], b"no upgrade"),
        "/plain" => exchange.ok("plain"),
        _ => exchange.echo(),
    });
    let gateway = Gateway::with(Backend::all(&upstream).route("{path: /admin, deny: true}"));
    for (target, status, body) in [("/no", 403, "no upgrade"), ("/plain", 200, "plain")] {
        for protocol in ["websocket", "foo"] {
            let mut client = gateway.client();
            let upgrade = Call::get(target)
                .header("Connection", "Upgrade")
                .header("Upgrade", protocol)
                .header("Sec-WebSocket-Version", "13")
                .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
            // The second request is there before the first is answered (CVE-2026-2833).
            client.write([upgrade.bytes("a.test"), Call::get("/admin").bytes("a.test")].concat());
            let first = client.read("GET").unwrap();
            assert_eq!((first.status, first.text().as_str()), (status, body), "{protocol}");
            match client.read("GET") {
                Ok(second) => second.assert_problem(403, "denied"),
                Err(Broken::Closed) => {}
                Err(other) => panic!("{protocol}: {other:?}"),
            }
        }
    }
    assert_eq!(upstream.count_of("/admin"), 0);
}

#[test]
fn any_protocol_can_be_tunnelled_when_the_upstream_agrees() {
    let upstream = Upstream::start(|exchange| {
        let agreed =
            exchange.head.lists("upgrade", "line-echo") && exchange.head.lists("connection", "upgrade");
        if !agreed {
            return exchange.reply(400, &[], b"no upgrade seen");
        }
        let head =
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: line-echo\r\n\r\nwelcome\n";
        exchange.wire.write(head)?;
        while let Some(line) = exchange.wire.through(b"\n")? {
            exchange.wire.write(line)?;
        }
        exchange.wire.write("bye\n")?;
        Ok(Then::Close)
    });
    let gateway = Gateway::with(Backend::all(&upstream));
    let mut client = gateway.client();
    let response =
        client.send(&Call::get("/x").header("Connection", "Upgrade").header("Upgrade", "line-echo"));
    assert_eq!(response.status, 101);
    let wire = client.wire();
    assert_eq!(wire.through(b"\n").unwrap().unwrap(), b"welcome\n", "bytes that came with the 101");
    wire.write(b"one\n\0\x01\xfftwo\n").unwrap();
    assert_eq!(wire.through(b"two\n").unwrap().unwrap(), b"one\n\0\x01\xfftwo\n");
    wire.finish_writing();
    assert_eq!(wire.through(b"\n").unwrap().unwrap(), b"bye\n", "one side may end before the other");
}

#[test]
fn what_is_sent_behind_the_offer_goes_through_the_tunnel() {
    let upstream = Upstream::start(|exchange| {
        exchange
            .wire
            .write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: one-line\r\n\r\n")?;
        let line = exchange.wire.through(b"\n")?.unwrap_or_default();
        exchange.wire.write(line)?;
        Ok(Then::Close)
    });
    let gateway = Gateway::with(Backend::all(&upstream));
    let mut client = gateway.client();
    let offer = Call::get("/x").header("Connection", "Upgrade").header("Upgrade", "one-line");
    client.write([&offer.bytes("a.test")[..], b"GET /early HTTP/1.1\n"].concat());
    assert_eq!(client.read_head("GET").unwrap().status, 101);
    assert_eq!(client.wire().through(b"\n").unwrap().unwrap(), b"GET /early HTTP/1.1\n");
    assert_eq!(upstream.count(), 1);
}

#[test]
fn a_tunnel_ends_when_idle_and_not_before() {
    let upstream = Upstream::start(echo_websocket);
    let gateway = Gateway::with(Backend::all(&upstream).with("idleTimeoutMs: 3000").with("timeout: 200ms"));
    let mut socket = WebSocket::open(gateway.addr, "/ws");
    // For longer than it may be idle.
    for i in 0..17 {
        std::thread::sleep(Duration::from_millis(200)); // the pace of the conversation
        socket.assert_echo(&format!("still here {i}"));
    }
    let end = socket.try_read();
    assert!(end.is_err() || end.is_ok_and(|frame| frame.opcode == Opcode::Close));
    assert!(eventually(SOON, || upstream.open() == 0));
}

#[test]
fn when_one_side_vanishes_the_other_is_closed() {
    let (upstream, builder) = echoing();
    let gateway = builder.start();
    let mut socket = WebSocket::open(gateway.addr, "/ws/echo");
    socket.assert_echo("there");
    drop(socket);
    assert!(eventually(SOON, || upstream.open() == 0), "the client went away");
    let mut socket = WebSocket::open(gateway.addr, "/ws/echo");
    socket.assert_echo("there");
    upstream.stop();
    assert!(socket.ends(), "the upstream went away");
    assert!(eventually(SOON, || gateway.in_flight() == 0));
}

#[test]
fn two_hundred_tunnels_survive_twenty_reloads() {
    let (upstream, builder) = echoing();
    let gateway = builder.clone().start();
    let mut sockets: Vec<_> = (0..200).map(|_| WebSocket::open(gateway.addr, "/ws/echo")).collect();
    for round in 0..20 {
        let extra = Backend::named(&format!("extra{round}")).to(&upstream).route(&format!("/extra/{round}"));
        let timeout =
            Backend::named("main").to(&upstream).route("/ws/**").with(&format!("timeout: {}s", 10 + round));
        let changed = Builder::clone(&builder).without_backends().backend(timeout).backend(extra);
        gateway.rewrite(&changed);
        assert_eq!(gateway.admin_post("/_aegis/reload", "").status, 200, "reload {round}");
        sockets.iter_mut().skip(round).step_by(20).for_each(|socket| socket.assert_echo("through a reload"));
    }
    // The last: even the backend that the tunnels belong to is gone.
    gateway
        .rewrite(&builder.without_backends().backend(Backend::named("other").to(&upstream).route("/other")));
    assert_eq!(gateway.admin_post("/_aegis/reload", "").status, 200);
    sockets.iter_mut().for_each(|socket| socket.assert_echo("to the end"));
    assert_eq!(upstream.connections(), 200);
}

#[test]
fn tunnels_get_a_close_1001_at_shutdown() {
    let (upstream, builder) = echoing();
    let mut gateway = builder.server("shutdownTimeoutMs: 1000").start();
    let mut sockets: Vec<_> = (0..5).map(|_| WebSocket::open(gateway.addr, "/ws/echo")).collect();
    sockets.iter_mut().for_each(|socket| socket.assert_echo("there"));
    gateway.signal("TERM");
    for socket in &mut sockets {
        let frame = socket.read();
        assert_eq!(frame.close_code(), Some(1001), "{frame:?}");
    }
    drop(sockets);
    assert_eq!(gateway.exit(SOON).expect("it stops").code(), Some(0));
    assert!(eventually(SOON, || upstream.open() == 0));
}

#[test]
fn a_large_stream_passes_an_unknown_protocols_tunnel_both_ways() {
    let upstream = Upstream::start(|exchange| {
        if exchange.head.get("upgrade") != Some("foo") || !exchange.head.lists("connection", "upgrade") {
            return exchange.reply(400, &[], b"no upgrade seen");
        }
        let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\n";
        exchange.wire.write([head.as_bytes(), &[0, 255, b'\r', b'\n']].concat())?;
        for _ in 0..64 {
            let bytes = exchange.wire.exact(65536)?;
            exchange.wire.write(bytes)?;
        }
        Ok(Then::Close)
    });
    let gateway = Gateway::with(Backend::all(&upstream));
    let mut client = gateway.client();
    let response = client.send(&Call::get("/x").header("Connection", "Upgrade").header("Upgrade", "foo"));
    assert_eq!((response.status, response.header("upgrade")), (101, Some("foo")));
    let wire = client.wire();
    assert_eq!(wire.exact(4).unwrap(), [0, 255, b'\r', b'\n'], "bytes right behind the head");
    let piece = |n: u32| (0..65536).map(|i| ((i * 7 + n) % 256) as u8).collect::<Vec<u8>>();
    for n in 0..64 {
        wire.write(piece(n)).unwrap();
        assert!(wire.exact(65536).unwrap() == piece(n), "piece {n}");
    }
    assert!(client.ends());
    assert!(eventually(SOON, || gateway.in_flight() == 0));
}

#[test]
fn an_offer_of_http2_is_never_forwarded_and_the_request_is_answered_as_it_is() {
    let upstream = Upstream::start(|exchange| {
        if exchange.head.all("upgrade").is_empty() {
            return exchange.echo();
        }
        exchange
            .wire
            .write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")?;
        Ok(Then::Close)
    });
    let gateway = Gateway::with(Backend::all(&upstream).route("{path: /admin, deny: true}"));
    for offer in ["h2c", "H2C", "h2c, foo", "foo, h2c", "foo,h2c", "HTTP/2.0", "foo, HTTP/2.0"] {
        let mut client = gateway.client();
        let call = Call::get("/x")
            .header("Connection", "Upgrade, HTTP2-Settings")
            .header("Upgrade", offer)
            .header("HTTP2-Settings", "AAMAAABkAAQAAP__");
        let response = client.send(&call);
        assert_eq!(response.status, 200, "{offer}");
        let seen = upstream.last().head;
        assert_eq!(
            (seen.all("upgrade"), seen.all("http2-settings"), seen.lists("connection", "upgrade")),
            (vec![], vec![], false),
            "{offer}"
        );
        assert!(!response.head.lists("connection", "upgrade"), "{offer}: nothing is upgraded: {response:?}");
        if response.keeps_alive() {
            client.get("/admin").assert_problem(403, "denied");
        }
    }
    assert_eq!(upstream.count_of("/admin"), 0);
}

#[test]
fn tunnels_have_a_bound_of_their_own() {
    let upstream = Upstream::start(|exchange| match exchange.target() {
        "/plain" => exchange.ok("ok"),
        _ => echo_websocket(exchange),
    });
    let backend = Backend::all(&upstream).without_breaker().with("maxInFlight: 1").with("maxTunnels: 2");
    let gateway = Gateway::with(backend);
    let counted = |what: &str| backend_status(&gateway, "main")["targets"][0][what].as_u64().unwrap();
    for _ in 0..3 {
        let mut sockets = [(); 2].map(|()| WebSocket::open(gateway.addr, "/ws"));
        gateway.send(&upgrade_request("/ws")).assert_problem(503, "pool_full");
        // They are no requests in flight.
        assert_eq!(gateway.get("/plain").status, 200);
        assert!(eventually(SOON, || (counted("inFlight"), counted("tunnels")) == (0, 2)));
        sockets[0].send(&Frame::close(1000, ""));
        sockets[0].read();
        assert!(eventually(SOON, || counted("tunnels") == 1));
        WebSocket::open(gateway.addr, "/ws").assert_echo("in its place");
        drop(sockets);
        assert!(eventually(SOON, || counted("tunnels") == 0));
    }
}

#[test]
fn of_handshakes_at_once_no_more_become_tunnels_than_there_may_be() {
    let (gate, held) = (Gate::new(), Arc::new(AtomicUsize::new(0)));
    let (theirs, count) = (gate.clone(), held.clone());
    let upstream = Upstream::start(move |exchange| {
        count.fetch_add(1, SeqCst);
        theirs.wait();
        echo_websocket(exchange)
    });
    let backend = Backend::all(&upstream).without_breaker().with("retries: 0").with("maxTunnels: 1");
    let gateway = Gateway::with(backend);
    let mut clients = [(); 3].map(|()| gateway.client());
    clients.iter_mut().for_each(|client| client.start(&upgrade_request("/ws")));
    assert!(eventually(SOON, || held.load(SeqCst) == 3), "all of them are asked");
    gate.open();
    let answers = clients.each_mut().map(|client| client.read_head("GET").unwrap());
    let mut statuses = answers.map(|answer| answer.status);
    statuses.sort_unstable();
    assert_eq!(statuses, [101, 503, 503]);
    assert_eq!(gateway.in_flight(), 0);
    drop(clients);
    let tunnels = || backend_status(&gateway, "main")["targets"][0]["tunnels"].clone();
    assert!(eventually(SOON, || tunnels() == 0), "{}", tunnels());
    assert!(eventually(SOON, || upstream.open() == 0), "those of the refused ones are closed as well");
}

#[test]
fn a_tunnel_that_breaks_does_not_look_like_one_that_ends() {
    let (told, tells) = std::sync::mpsc::channel();
    let upstream = Upstream::start(move |exchange| {
        exchange.wire.write("HTTP/1.1 101 Other\r\nConnection: upgrade\r\nUpgrade: foo\r\n\r\nsome of it")?;
        match exchange.target() {
            "/ends" => Ok(Then::Close),
            "/breaks" => Ok(Then::Reset),
            _ => {
                let mut seen = Vec::new();
                let end = exchange.wire.body(Framing::Close, &mut |piece| seen.extend_from_slice(piece));
                told.send((seen, end.is_ok())).unwrap();
                Ok(Then::Drop)
            }
        }
    });
    let gateway = Gateway::with(Backend::all(&upstream).without_breaker());
    let open = |target: &str| {
        let mut client = gateway.client();
        client.start(&Call::get(target).header("Connection", "upgrade").header("Upgrade", "foo"));
        assert_eq!(client.read_head("GET").unwrap().status, 101);
        client.into_wire()
    };
    for (target, whole) in [("/ends", true), ("/breaks", false)] {
        let end = open(target).body(Framing::Close, &mut |_| {});
        assert_eq!(end.is_ok(), whole, "{target}: {end:?}");
    }
    for whole in [true, false] {
        let mut wire = open("/reads");
        assert_eq!(wire.exact(10).unwrap(), b"some of it");
        wire.write("some as well").unwrap();
        if whole {
            wire.finish_writing();
        } else {
            wire.reset_on_close();
            drop(wire);
        }
        let (seen, is_whole) = tells.recv_timeout(2 * SOON).unwrap();
        assert_eq!(is_whole, whole, "{seen:?}");
    }
}
