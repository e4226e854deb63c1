//! NTLM and Negotiate authenticate a connection: it belongs to one client's connection, whose requests stay with it, and ends
//! with it (section 6, RFC 4559).

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;

use fastrand::Rng;

use crate::harness::guarded::{CLIENT, Guarded, said};
use crate::harness::h2_client::{Outcome, RawHttp2, Reply};
use crate::harness::hpack::Block;
use crate::harness::{Backend, Builder, Call, Client, Gateway, Response, SOON, eventually};

/// A gateway in front of them, without retries that are not at once.
fn before(guarded: &[&Guarded]) -> Builder {
    let backend = Backend::named("main").route("/**").without_breaker();
    let backend = guarded.iter().fold(backend, |backend, one| backend.to(&one.upstream));
    Gateway::builder().backend(backend.with("retries: 0").with("loadBalance: roundRobin"))
}

/// A user's request with what `credentials` say.
fn call(target: &str, credentials: &str) -> Call {
    let call = Call::get(target);
    if credentials.is_empty() { call } else { call.header("Authorization", credentials) }
}

/// The second step of NTLM, where the first one has come to this.
fn type3(user: &str, demand: Option<&str>) -> String {
    let challenge = demand.and_then(|demand| demand.strip_prefix("NTLM ")).expect("a challenge");
    format!("NTLM type3 {user} {challenge}")
}

/// Both steps of NTLM on this connection.
fn authenticate(client: &mut Client, user: &str) -> Response {
    let challenged = client.send(&call("/in", "NTLM type1"));
    assert_eq!(challenged.status, 401, "{challenged:?}");
    client.send(&call("/in", &type3(user, challenged.header("www-authenticate"))))
}

fn assert_said(response: &Response, user: Option<&str>, target: &str) {
    assert_eq!((response.status, response.text()), (200, said(user, target)));
}

/// A connection of alice's, authenticated.
fn alice(gateway: &Gateway) -> Client {
    let mut client = gateway.client();
    assert_said(&authenticate(&mut client, "alice"), Some("alice"), "/in");
    client
}

/// Nobody without credentials is served as somebody, by any connection that the gateway may have.
fn assert_nobody(gateway: &Gateway) {
    for _ in 0..6 {
        assert_said(&gateway.get("/public"), None, "/public");
        assert_eq!(gateway.get("/in").status, 401);
    }
}

/// What a client may rely on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Login {
    None,
    Sure,
    /// The upstream may have ended the connection.
    Doubtful,
}

/// One client's connection in a crowd.
struct Visitor<'a> {
    random: Rng,
    name: String,
    user: Option<&'a str>,
    login: Login,
    asked: &'a AtomicUsize,
}

impl Visitor<'_> {
    fn new<'a>(place: usize, asked: &'a AtomicUsize) -> Visitor<'a> {
        let user = [Some("alice"), Some("bob"), None][place % 3];
        let random = Rng::with_seed(place as u64);
        Visitor { random, name: format!("c{place}"), user, login: Login::None, asked }
    }

    fn target(&mut self) -> String {
        let place = ["/in", "/public"][self.random.usize(..2)];
        let kind = ["", "", "", "/large", "/fail", "/close", "/unsaid", "/drop"][self.random.usize(..8)];
        format!("{place}{kind}/{}{}", self.name, self.random.u16(..))
    }

    /// What this one may get for a target, by what came; what that says of the login.
    fn judge(&mut self, target: &str, status: u16, body: &str, reason: Option<&str>) {
        self.asked.fetch_add(1, SeqCst);
        let context =
            || format!("{} ({:?}) asked {target}: {status} {reason:?} {:.200}", self.name, self.user, body);
        let own = self.user.filter(|_| self.login != Login::None);
        match status {
            200 | 503 => {
                let is_own = own.is_some() && body == said(own, target);
                let is_nobody =
                    self.login != Login::Sure && target.starts_with("/public") && body == said(None, target);
                assert!(is_own || is_nobody, "{}", context());
                assert_eq!(status == 503, target.contains("fail"), "{}", context());
                self.login = if is_own { Login::Sure } else { Login::None };
            }
            401 => {
                assert!(self.login != Login::Sure && body.is_empty(), "{}", context());
                self.login = Login::None;
            }
            502 => {
                let lost = self.login != Login::Sure || target.contains("drop");
                assert!(lost && reason == Some("upstream_reset"), "{}", context());
            }
            _ => panic!("{}", context()),
        }
        if self.login == Login::Sure && ["close", "unsaid", "drop"].iter().any(|end| target.contains(end)) {
            self.login = Login::Doubtful;
        }
    }

    fn http1(mut self, gateway: &Gateway) {
        let mut client = gateway.client();
        for _ in 0..18 {
            if let (Some(user), Login::None) = (self.user, self.login) {
                self.log_in(&mut client, user);
            }
            let target = self.target();
            let call = match self.random.usize(..3) {
                0 => Call::post(&target, "some of a body"),
                1 => Call::new("PUT", &target).chunks(&[b"some", b"of a body"]),
                _ => Call::get(&target),
            };
            let response = client.send(&call.header(CLIENT, &self.name));
            self.judge(&target, response.status, &response.text(), response.reason());
            if self.random.u8(..12) == 0 {
                (client, self.login) = (gateway.client(), Login::None);
                self.name += "+";
            }
        }
    }

    fn log_in(&mut self, client: &mut Client, user: &str) {
        let named = |credentials: &str| call("/in", credentials).header(CLIENT, &self.name);
        let answer = if self.random.bool() {
            let challenged = client.send(&named("NTLM type1"));
            assert_eq!(challenged.status, 401, "{challenged:?}");
            self.asked.fetch_add(1, SeqCst);
            client.send(&named(&type3(user, challenged.header("www-authenticate"))))
        } else {
            client.send(&named(&format!("Negotiate {user}")))
        };
        self.asked.fetch_add(1, SeqCst);
        assert_said(&answer, Some(user), "/in");
        self.login = Login::Sure;
    }

    /// Several requests at once on one connection: the one that gets what is authenticated is served as the user, the others
    /// as nobody.
    fn http2(mut self, gateway: &Gateway) {
        let mut client = RawHttp2::connect(gateway.addr);
        let mut streams = (1..).step_by(2);
        let name = self.name.clone();
        let mut begin = |client: &mut RawHttp2, target: &str, credentials: &str| {
            let block = Block::request("GET", target).field(CLIENT.to_lowercase(), &name);
            let block =
                if credentials.is_empty() { block } else { block.field("authorization", credentials) };
            let stream = streams.next().unwrap();
            client.headers(stream, &block, true);
            stream
        };
        for _ in 0..4 {
            if let Some(user) = self.user {
                let stream = begin(&mut client, "/in", "NTLM type1");
                let challenged = reply(client.outcome(stream));
                let stream = begin(&mut client, "/in", &type3(user, challenged.field("www-authenticate")));
                let answer = reply(client.outcome(stream));
                assert_eq!(answer.body, said(Some(user), "/in").into_bytes(), "{answer:?}");
                self.asked.fetch_add(2, SeqCst);
            }
            let mut targets = Vec::new();
            for _ in 0..4 {
                let target = self.target();
                targets.push((begin(&mut client, &target, ""), target));
            }
            for (stream, target) in targets {
                let answer = reply(client.outcome(stream));
                // Which of them had the connection of the login nobody can tell.
                self.login = if self.user.is_some() { Login::Doubtful } else { Login::None };
                let text = String::from_utf8(answer.body.clone()).unwrap();
                self.judge(&target, answer.status, &text, answer.field("aegis-reason"));
            }
        }
    }
}

fn reply(outcome: Outcome) -> Reply {
    match outcome {
        Outcome::Answer(reply) => reply,
        other => panic!("{other:?}"),
    }
}

#[test]
fn of_a_thousand_requests_over_fifty_connections_none_is_served_as_another_user() {
    let targets = [Guarded::start(), Guarded::start()];
    let gateway = before(&[&targets[0], &targets[1]]).start();
    let asked = AtomicUsize::new(0);
    thread::scope(|scope| {
        for place in 0..50 {
            let (visitor, gateway) = (Visitor::new(place, &asked), &gateway);
            scope.spawn(move || if place % 5 == 0 { visitor.http2(gateway) } else { visitor.http1(gateway) });
        }
    });
    let asked = asked.into_inner();
    assert!(asked >= 1000, "only {asked} requests");
    for target in &targets {
        target.assert_unshared();
        assert!(target.known().len() > 10, "both targets have their part");
        assert!(eventually(SOON, || target.bound() == 0), "ends with the client's: {:?}", target.known());
    }
    assert_nobody(&gateway);
}

#[test]
fn a_login_lasts_as_long_as_both_connections_and_nobody_else_has_part_in_it() {
    let guarded = Guarded::start();
    let gateway = before(&[&guarded]).start();
    let mut client = alice(&gateway);
    for _ in 0..3 {
        assert_said(&client.get("/in"), Some("alice"), "/in");
        assert_nobody(&gateway);
    }
    assert!(eventually(SOON, || guarded.bound() == 1), "{:?}", guarded.known());
    drop(client);
    assert!(eventually(SOON, || guarded.bound() == 0), "{:?}", guarded.known());
    assert_nobody(&gateway);
}

#[test]
fn pipelined_requests_of_a_login_stay_with_it() {
    let guarded = Guarded::start();
    let gateway = before(&[&guarded]).start();
    let mut client = alice(&gateway);
    for _ in 0..5 {
        client.start(&Call::get("/in/large"));
    }
    for _ in 0..5 {
        assert_said(&client.read("GET").unwrap(), Some("alice"), "/in/large");
    }
}

#[test]
fn a_login_stays_with_its_target() {
    let (one, two) = (Guarded::start(), Guarded::start());
    let gateway = before(&[&one, &two]).start();
    let mut clients: Vec<Client> = (0..10).map(|_| alice(&gateway)).collect();
    for _ in 0..4 {
        for client in &mut clients {
            assert_said(&client.get("/in"), Some("alice"), "/in");
        }
    }
    assert!(one.bound() > 0 && two.bound() > 0, "both targets have their part");
    assert_eq!(one.bound() + two.bound(), clients.len());
}

#[test]
fn a_failure_that_the_login_is_told_of_is_not_tried_elsewhere_as_nobody() {
    let (one, two) = (Guarded::start(), Guarded::start());
    let backend = Backend::named("main").to(&one.upstream).to(&two.upstream).route("/**");
    let gateway = Gateway::with(backend.without_breaker().with("retries: 2"));
    let mut client = alice(&gateway);
    let response = client.get("/in/fail");
    assert_eq!((response.status, response.text()), (503, said(Some("alice"), "/in/fail")));
    assert_said(&client.get("/in"), Some("alice"), "/in");
}

#[test]
fn a_login_that_the_upstream_has_ended_is_over_and_a_new_one_works() {
    let guarded = Guarded::start();
    let gateway = before(&[&guarded]).start();
    let mut client = alice(&gateway);
    for end in ["/in/close", "/in/unsaid"] {
        assert_said(&client.get(end), Some("alice"), end);
        assert_eq!(client.get("/in").status, 401, "behind {end}");
        assert_said(&authenticate(&mut client, "alice"), Some("alice"), "/in");
    }
    client.get("/in/drop").assert_problem(502, "upstream_reset");
    assert_eq!(client.get("/in").status, 401, "it went with its connection");
    assert_said(&authenticate(&mut client, "bob"), Some("bob"), "/in");
    assert_nobody(&gateway);
}

#[test]
fn whoever_leaves_in_the_middle_of_an_answer_leaves_no_login_behind() {
    let guarded = Guarded::start();
    let gateway = before(&[&guarded]).start();
    let mut client = alice(&gateway);
    client.start(&Call::get("/in/endless"));
    assert_eq!(client.read_head("GET").unwrap().status, 200);
    drop(client);
    assert!(eventually(SOON, || guarded.bound() == 0), "{:?}", guarded.known());
    assert_nobody(&gateway);
}

#[test]
fn an_answer_that_its_client_does_not_read_is_nobody_elses() {
    let guarded = Guarded::start();
    let gateway = before(&[&guarded]).start();
    let mut client = gateway.client();
    client.start(&call("/in/endless", "Negotiate alice"));
    assert!(eventually(SOON, || guarded.bound() == 1));
    assert_nobody(&gateway);
    drop(client);
    assert!(eventually(2 * SOON, || guarded.bound() == 0), "{:?}", guarded.known());
    assert_nobody(&gateway);
}

#[test]
fn several_connections_of_one_client_do_not_come_between_the_steps_of_a_login() {
    let guarded = Guarded::start();
    let gateway = before(&[&guarded]).start();
    let mut client = RawHttp2::connect(gateway.addr);
    let ask = |client: &mut RawHttp2, stream, credentials: &str| {
        client.headers(stream, &Block::request("GET", "/in").field("authorization", credentials), true);
    };
    // Each of them at once needs a connection of its own.
    for stream in [1, 3, 5] {
        ask(&mut client, stream, "NTLM type1");
    }
    for stream in [1, 3, 5] {
        assert_eq!(reply(client.outcome(stream)).status, 401);
    }
    for stream in [7, 11, 15] {
        ask(&mut client, stream, "NTLM type1");
        let challenged = reply(client.outcome(stream));
        ask(&mut client, stream + 2, &type3("alice", challenged.field("www-authenticate")));
        let answer = reply(client.outcome(stream + 2));
        assert_eq!(answer.body, said(Some("alice"), "/in").into_bytes(), "{answer:?}");
    }
}

#[test]
fn a_reload_neither_ends_a_login_nor_gives_it_to_anybody() {
    let guarded = Guarded::start();
    let builder = before(&[&guarded]);
    let gateway = builder.clone().start();
    let mut client = alice(&gateway);
    let reload = |builder: &Builder| {
        gateway.rewrite(builder);
        let response = gateway.admin_post("/_aegis/reload", "");
        assert_eq!(response.status, 200, "{}", response.text());
    };
    reload(&builder.clone().backend(Backend::named("other").to(&guarded.upstream).route("/other")));
    assert_said(&client.get("/in"), Some("alice"), "/in");
    assert_nobody(&gateway);
    // Other terms are for other connections.
    let backend =
        Backend::all(&guarded.upstream).without_breaker().with("retries: 0").with("poolIdleMs: 500");
    reload(&Gateway::builder().backend(backend));
    assert_eq!(client.get("/in").status, 401);
    assert_said(&authenticate(&mut client, "bob"), Some("bob"), "/in");
    assert_nobody(&gateway);
    drop(client);
    assert!(eventually(SOON, || guarded.bound() == 0), "{:?}", guarded.known());
}

#[test]
fn a_proxy_that_shares_its_connections_shares_no_login() {
    let guarded = Guarded::start();
    let gateway = before(&[&guarded]).server("trustedProxies: [127.0.0.1]").start();
    let mut proxy = gateway.client();
    let mut ask = |from: &str, target: &str, credentials: &str| {
        proxy.send(&call(target, credentials).header("X-Forwarded-For", from))
    };
    let challenged = ask("203.0.113.1", "/in", "NTLM type1");
    let third = type3("alice", challenged.header("www-authenticate"));
    assert_said(&ask("203.0.113.1", "/in", &third), Some("alice"), "/in");
    for other in ["203.0.113.2", "203.0.113.3", "127.0.0.1"] {
        assert_eq!(ask(other, "/in", "").status, 401, "{other} is served as alice");
        assert_said(&ask(other, "/public", ""), None, "/public");
    }
    assert_said(&ask("203.0.113.1", "/in", ""), Some("alice"), "/in");
}
