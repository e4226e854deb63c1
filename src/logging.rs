//! Logging through `log` and `env_logger`, written by a thread of its own.
//!
//! Whoever logs only formats; the bytes go to standard output from one writer thread through a bounded queue, so
//! a blocked pipe never holds up a request. When the queue is full, batches are dropped and counted, and the count
//! is logged once there is room again.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use log::{Log, Metadata, Record};

use crate::config::settings::{LogFormat, Logging};

/// Target of access log records: their text is complete lines, passed through as they are.
pub const ACCESS: &str = "access";

/// Batches that may wait for the writer.
const QUEUE: usize = 1024;

static DROPPED: AtomicU64 = AtomicU64::new(0);
static LOGGER: OnceLock<Reloadable> = OnceLock::new();

enum Piece {
    Bytes(Vec<u8>),
    Flush(SyncSender<()>),
}

/// The queue's sending end, as env_logger wants it.
struct Queue(SyncSender<Piece>);

impl Write for Queue {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Err(TrySendError::Full(_)) = self.0.try_send(Piece::Bytes(bytes.to_vec())) {
            DROPPED.fetch_add(1, Ordering::Relaxed);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write_all(queue: Receiver<Piece>) {
    let mut out = io::stdout();
    while let Ok(piece) = queue.recv() {
        match piece {
            // A reader that went away must not end the gateway.
            Piece::Bytes(bytes) => drop(out.write_all(&bytes)),
            Piece::Flush(done) => {
                let _ = out.flush();
                let _ = done.send(());
            }
        }
        let dropped = DROPPED.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            let _ = writeln!(
                out,
                r#"{{"level":"warn","message":"{dropped} log batches were dropped: standard output is too slow"}}"#
            );
        }
    }
}

/// The installed logger; a reload replaces what is inside.
struct Reloadable {
    inner: ArcSwap<env_logger::Logger>,
    queue: SyncSender<Piece>,
}

impl Log for &'static Reloadable {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.inner.load().enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        self.inner.load().log(record);
    }

    fn flush(&self) {
        let (done, wait) = sync_channel(1);
        if self.queue.try_send(Piece::Flush(done)).is_ok() {
            let _ = wait.recv_timeout(Duration::from_secs(2));
        }
    }
}

/// Installs the logger, or changes it after a reload. `RUST_LOG`, where set, wins over `logging.level`.
pub fn init(settings: &Logging) {
    let logger = LOGGER.get_or_init(|| {
        let (queue, receiver) = sync_channel(QUEUE);
        if let Err(error) =
            std::thread::Builder::new().name("log-writer".into()).spawn(|| write_all(receiver))
        {
            eprintln!("aegis: no thread for the log: {error}");
        }
        Reloadable { inner: ArcSwap::new(Arc::new(build(settings, queue.clone()))), queue }
    });
    logger.inner.store(Arc::new(build(settings, logger.queue.clone())));
    let max = logger.inner.load().filter();
    // Fails only when it is installed already.
    let _ = log::set_boxed_logger(Box::new(logger));
    log::set_max_level(max);
}

/// Waits (at most two seconds) until everything logged so far is written.
pub fn flush() {
    log::logger().flush();
}

fn build(settings: &Logging, queue: SyncSender<Piece>) -> env_logger::Logger {
    let filter = std::env::var("RUST_LOG").unwrap_or_else(|_| quiet(&settings.level));
    let format = settings.format;
    env_logger::Builder::new()
        .parse_filters(&filter)
        .target(env_logger::Target::Pipe(Box::new(Queue(queue))))
        .write_style(env_logger::WriteStyle::Never)
        .format(move |out, record| {
            if record.target() == ACCESS {
                return write!(out, "{}", record.args());
            }
            let time = humantime::format_rfc3339_millis(SystemTime::now());
            let level = record.level().as_str().to_ascii_lowercase();
            let message = record.args().to_string();
            match format {
                LogFormat::Json => {
                    let message = serde_json::Value::from(message);
                    writeln!(
                        out,
                        r#"{{"time":"{time}","level":"{level}","target":"{}","message":{message}}}"#,
                        record.target()
                    )
                }
                LogFormat::Text => writeln!(out, "{time} {level:<5} {}", printable(&message)),
            }
        })
        .build()
}

/// The libraries below log per connection what the access log already says.
fn quiet(level: &str) -> String {
    if level.contains('=') || matches!(level, "debug" | "trace") {
        return level.to_owned();
    }
    format!("{level},actix_http=off,actix_server=warn,actix_web=warn,mio=warn,rustls=error")
}

/// Text without control characters, so that no message can forge a line.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Writes one batch of complete access log lines.
pub fn access(lines: &str) {
    log::info!(target: ACCESS, "{lines}");
}
