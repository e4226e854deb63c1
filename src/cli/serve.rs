//! `aegis serve`: load, bind, start, wait for a signal, drain, stop.

use std::io;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use actix::Addr;
use actix_server::ServerHandle;
use aegis_actors::alerts::{Alerts, Ledger};
use aegis_actors::metrics_aggregator::{Flush, MetricsAggregatorActor, Sink, Writer, Written};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;

use super::complain;
use crate::admin::{self, Admin, HistoryDeps};
use crate::config::{Loaded, Settings, Severity, Source, load_with, settings};
use crate::gateway::server::Latecomers;
use crate::gateway::shared::{Internal, Shared};
use crate::gateway::{listener, server, worker};
use crate::logging;
use crate::panics;
use crate::store::{Options, Store};
use crate::supervisor::{Deps, Inspect, MetricsStore, Reload, ReloadBy, Supervisor, build, validate};
use crate::tls::{Asked, ServerTls};

/// How long threads that are cut off may take to write what they know of their requests.
const LAST_LINES: Duration = Duration::from_secs(1);
/// How long the stop waits for the metrics store.
const LAST_WRITE: Duration = Duration::from_secs(3);

/// Runs the gateway until it is told to stop.
pub fn run(source: Source) -> i32 {
    let loaded = match load_with(&source, validate) {
        Ok(loaded) => loaded,
        Err(problems) => {
            complain(problems);
            return 1;
        }
    };
    serve(source, loaded, |_| {})
}

/// Where a started gateway listens.
#[derive(Clone, Debug)]
pub struct Started {
    pub gateway: std::net::SocketAddr,
    pub admin: std::net::SocketAddr,
    pub secure: bool,
}

/// Runs a loaded configuration; `started` is told once both listeners accept.
pub fn serve(source: Source, loaded: Loaded, started: impl FnOnce(&Started) + 'static) -> i32 {
    logging::init(&loaded.settings.logging);
    panics::install();
    for problem in loaded.warnings.iter().filter(|problem| problem.severity == Severity::Warning) {
        log::warn!("{problem}");
    }
    let descriptors = rlimit::increase_nofile_limit(u64::MAX).unwrap_or(u64::MAX);
    if let Some(said) = too_few(descriptors, &loaded.settings.server) {
        let asked_for = loaded.settings.server.max_connections != settings::Server::default().max_connections;
        let level = if asked_for || descriptors < FEW { log::Level::Warn } else { log::Level::Info };
        log::log!(level, "{said}");
    }
    let outcome = actix_rt::System::new().block_on(gateway(source, loaded, started));
    let code = match outcome {
        Ok(()) => 0,
        Err(error) => {
            log::error!("{error}");
            1
        }
    };
    worker::flush_here();
    logging::flush();
    panics::flush();
    code
}

/// Fewer descriptors than this are few for any gateway, whatever number of connections nobody has asked for.
const FEW: u64 = 4096;

/// What is to be said where every client and every upstream connection is a descriptor, and there are few.
fn too_few(descriptors: u64, server: &settings::Server) -> Option<String> {
    let (workers, connections) = (workers(server), server.max_connections);
    let wanted = workers.saturating_mul(connections) as u64;
    (descriptors < wanted).then(|| {
        format!(
            "this process may have {descriptors} files and connections open, fewer than server.maxConnections for all \
             workers ({connections} for each of {workers}): beyond, connections wait and upstreams cannot be reached; \
             raise the limit (ulimit -n, LimitNOFILE=, --ulimit nofile=), or lower server.maxConnections"
        )
    })
}

fn workers(server: &settings::Server) -> usize {
    match server.workers {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        n => n,
    }
}

async fn gateway(source: Source, loaded: Loaded, started: impl FnOnce(&Started)) -> io::Result<()> {
    let settings = loaded.settings.clone();
    let workers = workers(&settings.server);
    let snapshot = build(&settings, None, 1, workers).map_err(io::Error::other)?;
    let tls = settings.server.tls.as_ref().map(|tls| ServerTls::load(tls, Asked::of(&settings)));
    let tls = tls.transpose().map_err(io::Error::other)?;
    let gateway = listener::bind(&settings.server.host, settings.server.port, "server")?;
    let admin_listener = listener::bind(&settings.admin.host, settings.admin.port, "admin")?;
    let addresses = Started {
        gateway: gateway.address,
        admin: admin_listener.address,
        secure: settings.server.tls.is_some(),
    };
    // Before anybody can know that there is something to signal.
    let mut signals = Signals::new()?;

    let shared = Shared::new(snapshot, &settings, workers);
    let (warned, label) = (loaded.warnings.len(), source.label(loaded.file.as_deref()));
    let store = open_store(&settings)?;
    let instance: Arc<str> = settings.metrics.instance(addresses.gateway.port()).into();
    let boot = format!("{:x}-{:016x}", std::process::id(), fastrand::u64(..));
    let writer = Writer { instance: instance.clone(), boot: boot.as_str().into() };
    let alerts = Arc::new(Alerts::new(&writer, store.is_some()));
    let supervisor = Supervisor::start_with(Deps {
        source,
        loaded,
        shared: shared.clone(),
        tls: tls.clone(),
        admin: addresses.admin,
        workers,
        store: MetricsStore {
            sink: store.clone().map(|store| Arc::new(store) as Arc<dyn Sink>),
            writer,
            flush_interval: settings.metrics.flush_interval,
            ledger: store.clone().map(|store| Arc::new(store) as Arc<dyn Ledger>),
            alerts: alerts.clone(),
        },
    });
    // Its answer says that it has begun: whoever changes a file after the start is noticed.
    let _ = supervisor.send(Inspect).await;
    let history = HistoryDeps { store, instance, alerts };
    let admin = Admin::new(shared.clone(), supervisor.clone(), history, workers, &settings.admin.host);
    let internal: Box<dyn Internal> = Box::new(admin.clone());
    shared.internal.store(Some(Arc::new(internal)));

    let (server, handle, late) = server::serve(gateway, shared.clone(), &settings.server, workers, tls)?;
    let (admin_server, admin_handle) = admin::serve(admin_listener.into_listener(), admin)?;
    let mut serving = actix_rt::spawn(server);
    actix_rt::spawn(admin_server);
    let scheme = if addresses.secure { "https" } else { "http" };
    log::info!(
        "aegis {} serves {scheme}://{} with {workers} workers; admin on http://{}; configuration {} ({} backends, {} routes, {warned} warnings)",
        env!("CARGO_PKG_VERSION"),
        addresses.gateway,
        addresses.admin,
        label,
        settings.backends.len(),
        settings.backends.iter().map(|backend| backend.routes.len()).sum::<usize>(),
    );
    let _port_file = PortFile::write(&addresses);
    started(&addresses);

    let mut outcome = Ok(());
    tokio::select! {
        () = signals.stop(&supervisor) => {}
        ended = &mut serving => {
            ended.map_err(io::Error::other)??;
            return Err(io::Error::other("the gateway listener ended by itself"));
        }
        () = death(&supervisor) => {
            // Traffic would go on, but nobody would replace an actor or apply a reload any more.
            log::error!("the supervisor has died; the gateway stops, to be started again");
            outcome = Err(io::Error::other("the supervisor has died"));
        }
    }
    tokio::select! {
        finished = drain(&shared, &handle, &admin_handle, late) => {
            if !finished {
                cut(&shared, serving).await;
            }
        }
        // Dropping the other branch cuts its requests.
        () = async { signals.stop(&supervisor).await; shared.cutting.store(true, Ordering::Release) } => {
            log::warn!("second stop signal: {} requests in flight are cut", shared.in_flight());
            cut(&shared, serving).await;
        }
    }
    // Counts and log lines of the connections that this thread has served after the listener closed.
    worker::flush_here();
    last_write(&supervisor).await;
    admin_handle.stop(false).await;
    log::info!("stopped");
    outcome
}

/// The metrics store, where there is to be one. It is connected to when it is first used: a database that is away holds up
/// nobody's start.
fn open_store(settings: &Settings) -> io::Result<Option<Store>> {
    let metrics = &settings.metrics;
    let Some(database) = metrics.store.as_ref().filter(|_| metrics.enabled) else { return Ok(None) };
    let options =
        Options { auto_migrate: metrics.auto_migrate, retention: metrics.retention, ..Options::default() };
    Store::at(database.clone(), options).map(Some).map_err(io::Error::other)
}

/// Writes what has been counted since the last write. A store that is away is not waited for: what it has not got is lost
/// with the process.
async fn last_write(supervisor: &Addr<Supervisor>) {
    let Ok(overview) = supervisor.send(Inspect).await else { return };
    let Some(aggregator) = overview.addresses.of::<MetricsAggregatorActor>() else { return };
    match aggregator.send(Flush).timeout(LAST_WRITE).await {
        Ok(Written::All | Written::Nowhere) => {}
        _ => log::warn!("the metrics store did not take what was counted last; it is lost"),
    }
}

/// Returns when the supervisor is no more.
async fn death(supervisor: &Addr<Supervisor>) {
    while supervisor.connected() {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Ends the workers with all their requests, and waits until each has written what it knows of them. A server that is stopping
/// gracefully takes no second command, but its workers end when it is dropped.
async fn cut(shared: &Shared, serving: JoinHandle<io::Result<()>>) {
    serving.abort();
    let ended = async {
        let _ = serving.await;
        // This thread serves those who had connected before the listener closed; what it knows is written by `flush_here`.
        let here = usize::from(worker::Worker::current().is_some());
        while shared.serving() > here {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let _ = tokio::time::timeout(LAST_LINES, ended).await;
}

/// Lets everything under way finish: `/ready` says no, answers close their connections, tunnels are closed with 1001;
/// after `server.drainPeriodMs`, in which load balancers see `/ready` turn and clients are told to come back elsewhere,
/// both listeners close, and the rest gets what is left of `server.shutdownTimeoutMs`, both as they are configured now.
/// False when that was not enough.
async fn drain(shared: &Shared, handle: &ServerHandle, admin: &ServerHandle, late: Latecomers) -> bool {
    let server = shared.server.load_full();
    let (drain_period, timeout) = (server.drain_period, server.shutdown_timeout);
    let end = tokio::time::Instant::now() + timeout;
    log::info!(
        "stopping: {} requests and {} tunnels in flight",
        shared.in_flight(),
        shared.tunnels.load(Ordering::Relaxed)
    );
    shared.draining.store(true, Ordering::Relaxed);
    shared.stop_tunnels.send_replace(true);
    tokio::time::sleep(drain_period.min(timeout)).await;
    // Both, so that a successor with the same configuration can bind them.
    let mut everybody = pin!(async { tokio::join!(handle.stop(true), late.serve(), admin.stop(true)) });
    let finished = tokio::time::timeout_at(end, everybody.as_mut()).await.is_ok();
    // From here on, also for those that are dropped with `everybody`.
    shared.cutting.store(!finished, Ordering::Release);
    if shared.in_flight() > 0 {
        log::warn!("shutdownTimeoutMs has passed: {} requests in flight are cut", shared.in_flight());
    }
    finished
}

/// The signals that the gateway knows.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Returns at SIGTERM or SIGINT; SIGHUP reloads.
    async fn stop(&mut self, supervisor: &Addr<Supervisor>) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hangup.recv() => {
                    // What came of it is in the log and on the status page. It is not waited for: files may be long in
                    // coming, and the next signal may be to stop.
                    actix_rt::spawn(supervisor.send(Reload { by: ReloadBy::Signal }));
                }
            }
        }
    }
}

/// `AEGIS_PORT_FILE`: where the gateway really listens, for whoever configured port 0. Written whole or not at all, and
/// gone with the process, unless another has written its own by then.
struct PortFile {
    path: PathBuf,
    text: String,
}

impl PortFile {
    fn write(started: &Started) -> Option<Self> {
        let path = PathBuf::from(std::env::var_os("AEGIS_PORT_FILE")?);
        let text = format!(
            r#"{{"gateway":"{}","admin":"{}","pid":{}}}"#,
            started.gateway,
            started.admin,
            std::process::id()
        );
        let part = path.with_extension("part");
        match std::fs::write(&part, &text).and_then(|()| std::fs::rename(&part, &path)) {
            Ok(()) => Some(Self { path, text }),
            Err(error) => {
                log::warn!("AEGIS_PORT_FILE {}: {error}", path.display());
                None
            }
        }
    }
}

impl Drop for PortFile {
    fn drop(&mut self) {
        if std::fs::read_to_string(&self.path).is_ok_and(|text| text == self.text) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_descriptors_are_said_with_what_they_are_too_few_for() {
        let server = settings::Server { workers: 2, max_connections: 1000, ..settings::Server::default() };
        assert_eq!(too_few(2000, &server), None);
        let said = too_few(1999, &server).expect("a warning");
        assert!(
            said.contains("1999") && said.contains("1000 for each of 2") && said.contains("ulimit -n"),
            "{said}"
        );
    }
}
