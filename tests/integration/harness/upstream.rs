//! A real server whose every byte the test decides, and which remembers every request.
//!
//! It reads requests strictly: a request that two parsers could read in two ways fails the test at the end.

use std::collections::HashMap;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::exchange::{Exchange, Then};
use super::head::{Framing, Head};
use super::port::Port;
use super::wait::{Gate, eventually};
use super::wire::Wire;

/// A request as it arrived.
#[derive(Clone, Debug, Default)]
pub struct Request {
    pub target: String,
    pub head: Head,
    /// The body, when the handler read it with [`Exchange::body`].
    pub body: Vec<u8>,
    /// True once the whole body was read.
    pub complete: bool,
}

type Requests = dyn Fn(&mut Exchange) -> io::Result<Then> + Send + Sync;
type Raw = dyn Fn(&mut Wire, usize) -> io::Result<Then> + Send + Sync;

#[derive(Clone)]
enum Handler {
    Requests(Arc<Requests>),
    Raw(Arc<Raw>),
}

#[derive(Default)]
pub(super) struct Shared {
    requests: Mutex<Vec<Request>>,
    violations: Mutex<Vec<String>>,
    sockets: Mutex<HashMap<usize, TcpStream>>,
    connections: AtomicUsize,
    open: AtomicUsize,
    running: AtomicBool,
    listening: AtomicBool,
}

impl Shared {
    pub(super) fn amend(&self, number: usize, change: impl FnOnce(&mut Request)) {
        if let Some(request) = self.requests.lock().unwrap().get_mut(number) {
            change(request);
        }
    }
}

/// See the module.
pub struct Upstream {
    port: Port,
    handler: Handler,
    tls: Option<Arc<rustls::ServerConfig>>,
    shared: Arc<Shared>,
}

impl Upstream {
    /// Calls `handler` once for each request head.
    pub fn start(handler: impl Fn(&mut Exchange) -> io::Result<Then> + Send + Sync + 'static) -> Self {
        Self::launch(Handler::Requests(Arc::new(handler)), None)
    }

    /// The same under TLS.
    pub fn start_tls(
        config: Arc<rustls::ServerConfig>,
        handler: impl Fn(&mut Exchange) -> io::Result<Then> + Send + Sync + 'static,
    ) -> Self {
        Self::launch(Handler::Requests(Arc::new(handler)), Some(config))
    }

    /// Calls `handler` once for each connection (with its number), before anything is read.
    pub fn raw(handler: impl Fn(&mut Wire, usize) -> io::Result<Then> + Send + Sync + 'static) -> Self {
        Self::launch(Handler::Raw(Arc::new(handler)), None)
    }

    /// [`Upstream::echo`] that holds every request below `/hold` until the gate opens.
    pub fn holding() -> (Self, Gate) {
        let gate = Gate::new();
        let theirs = gate.clone();
        let upstream = Self::start(move |exchange| {
            if exchange.target().starts_with("/hold") {
                theirs.wait();
            }
            exchange.echo()
        });
        (upstream, gate)
    }

    /// Answers each request with what arrived, see [`Exchange::echo`].
    pub fn echo() -> Self {
        Self::start(|exchange| exchange.echo())
    }

    /// Answers each request 200 with `body`.
    pub fn ok(body: &'static str) -> Self {
        Self::start(move |exchange| exchange.ok(body))
    }

    /// Answers each request with `status` and a short body.
    pub fn status(status: u16) -> Self {
        Self::start(move |exchange| exchange.reply(status, &[], b"said the upstream"))
    }

    /// Answers the first requests with these statuses, the rest with the last of them.
    pub fn sequence(statuses: &'static [u16]) -> Self {
        Self::start(move |exchange| {
            let status = statuses[exchange.number.min(statuses.len() - 1)];
            exchange.reply(status, &[], b"in sequence")
        })
    }

    /// Reads each request, then sends `bytes` as they are.
    pub fn answering(bytes: impl Into<Vec<u8>>, then: Then) -> Self {
        let bytes = bytes.into();
        Self::start(move |exchange| exchange.answer(&bytes, then))
    }

    fn launch(handler: Handler, tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let upstream = Self { port: Port::reserve(), handler, tls, shared: Arc::default() };
        upstream.restart();
        upstream
    }

    /// Address of the server, also while it is stopped.
    pub fn addr(&self) -> SocketAddr {
        self.port.addr()
    }

    /// `http://127.0.0.1:PORT`, or `https:` for one under TLS.
    pub fn url(&self) -> String {
        format!("{}://{}", if self.tls.is_some() { "https" } else { "http" }, self.addr())
    }

    /// Every request so far, in order of arrival.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// Requests so far.
    pub fn count(&self) -> usize {
        self.shared.requests.lock().unwrap().len()
    }

    /// Requests so far whose target starts with `prefix`.
    pub fn count_of(&self, prefix: &str) -> usize {
        self.shared.requests.lock().unwrap().iter().filter(|r| r.target.starts_with(prefix)).count()
    }

    /// The newest request; panics when there is none.
    pub fn last(&self) -> Request {
        self.requests().pop().expect("no request reached the upstream")
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(SeqCst)
    }

    /// Connections open now.
    pub fn open(&self) -> usize {
        self.shared.open.load(SeqCst)
    }

    /// Refuses new connections and breaks the open ones; the port stays reserved.
    pub fn stop(&self) {
        if self.shared.running.swap(false, SeqCst) {
            drop(TcpStream::connect(self.addr()));
            assert!(eventually(Duration::from_secs(5), || !self.shared.listening.load(SeqCst)));
        }
        for socket in self.shared.sockets.lock().unwrap().values() {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    /// Listens again after [`stop`](Self::stop).
    pub fn restart(&self) {
        let listener = self.port.listen();
        self.shared.running.store(true, SeqCst);
        self.shared.listening.store(true, SeqCst);
        let (handler, tls, shared) = (self.handler.clone(), self.tls.clone(), Arc::clone(&self.shared));
        thread::spawn(move || accept(listener, &handler, tls.as_ref(), &shared));
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        let violations = std::mem::take(&mut *self.shared.violations.lock().unwrap());
        if thread::panicking() {
            return;
        }
        self.stop();
        assert!(violations.is_empty(), "the upstream received what no strict parser accepts: {violations:?}");
    }
}

fn accept(
    listener: TcpListener,
    handler: &Handler,
    tls: Option<&Arc<rustls::ServerConfig>>,
    shared: &Arc<Shared>,
) {
    for stream in listener.incoming() {
        if !shared.running.load(SeqCst) {
            break;
        }
        let Ok(stream) = stream else { continue };
        shared.open.fetch_add(1, SeqCst);
        let id = shared.connections.fetch_add(1, SeqCst);
        if let Ok(clone) = stream.try_clone() {
            shared.sockets.lock().unwrap().insert(id, clone);
        }
        let (handler, tls, shared) = (handler.clone(), tls.cloned(), Arc::clone(shared));
        thread::spawn(move || {
            let mut wire = match tls {
                None => Wire::new(stream),
                Some(config) => {
                    let session = rustls::ServerConnection::new(config).unwrap();
                    Wire::new(rustls::StreamOwned::new(session, stream))
                }
            };
            let end = match &handler {
                Handler::Raw(handle) => handle(&mut wire, id),
                Handler::Requests(handle) => serve(&mut wire, handle, &shared),
            };
            if let Err(error) = &end
                && error.kind() == io::ErrorKind::InvalidData
                && !error.get_ref().is_some_and(|cause| cause.is::<rustls::Error>())
            {
                shared.violations.lock().unwrap().push(error.to_string());
            }
            finish(wire, end.unwrap_or(Then::Drop), || drop(shared.sockets.lock().unwrap().remove(&id)));
            shared.open.fetch_sub(1, SeqCst);
        });
    }
    drop(listener);
    shared.listening.store(false, SeqCst);
}

fn finish(mut wire: Wire, then: Then, forget: impl FnOnce()) {
    match then {
        Then::Close => {
            wire.finish_writing();
            wire.timeout(Duration::from_secs(2));
            let _ = wire.body(Framing::Close, &mut |_| {});
        }
        Then::Reset => wire.reset_on_close(),
        Then::Keep | Then::Drop => {}
    }
    // The reset is sent only when the last descriptor closes, so the wire goes after the clone.
    forget();
    drop(wire);
}

fn serve(wire: &mut Wire, handler: &Arc<Requests>, shared: &Shared) -> io::Result<Then> {
    for nth in 0.. {
        wire.timeout(Duration::from_secs(60));
        let Some(bytes) = wire.through(b"\r\n\r\n")? else { break };
        wire.timeout(Duration::from_secs(10));
        let head = Head::parse(&bytes).map_err(super::wire::invalid)?;
        let framing = head.framing().map_err(super::wire::invalid)?.unwrap_or(Framing::Nothing);
        let target = head.start.split(' ').nth(1).unwrap_or_default().to_owned();
        let number = {
            let mut requests = shared.requests.lock().unwrap();
            let complete = matches!(framing, Framing::Nothing);
            requests.push(Request { target, head: head.clone(), body: Vec::new(), complete });
            requests.len() - 1
        };
        let mut exchange = Exchange { head: &head, wire, number, nth, framing, unread: true, shared };
        match handler(&mut exchange)? {
            Then::Keep => {
                exchange.body()?;
            }
            then => return Ok(then),
        }
    }
    Ok(Then::Drop)
}
