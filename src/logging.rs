//! Logging through `log` and `env_logger`, written by a thread of its own.
//!
//! Whoever logs only formats; the bytes go to standard output from one writer thread through a bounded queue, so
//! a blocked pipe never holds up a request. When the queue is full, batches are dropped and counted, and the count
//! is logged once there is room again.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
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
/// The format, for the writer's own notice.
static JSON: AtomicBool = AtomicBool::new(true);
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
            let format = if JSON.load(Ordering::Relaxed) { LogFormat::Json } else { LogFormat::Text };
            let message = format!("{dropped} log batches were dropped: standard output is too slow");
            let _ = write_line(&mut out, format, log::Level::Warn, module_path!(), &message);
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

/// Installs the logger, or changes it after a reload. `RUST_LOG`, where set, wins over `logging.level`. Neither's level
/// counts for the access log: `logging.accessLog` decides, or `access=off` in a filter.
pub fn init(settings: &Logging) {
    let logger = LOGGER.get_or_init(|| {
        let (queue, receiver) = sync_channel(QUEUE);
        if let Err(error) =
            std::thread::Builder::new().name("log-writer".into()).spawn(|| write_all(receiver))
        {
            let _ = writeln!(io::stderr(), "aegis: no thread for the log: {error}");
        }
        Reloadable { inner: ArcSwap::new(Arc::new(build(settings, queue.clone()))), queue }
    });
    JSON.store(settings.format == LogFormat::Json, Ordering::Relaxed);
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
    let format = settings.format;
    filtered(settings, std::env::var("RUST_LOG").ok())
        .target(env_logger::Target::Pipe(Box::new(Queue(queue))))
        .write_style(env_logger::WriteStyle::Never)
        .format(move |out, record| {
            if record.target() == ACCESS {
                return write!(out, "{}", record.args());
            }
            write_line(out, format, record.level(), record.target(), &record.args().to_string())
        })
        .build()
}

/// What is let through.
fn filtered(settings: &Logging, rust_log: Option<String>) -> env_logger::Builder {
    let mut builder = env_logger::Builder::new();
    if settings.access_log {
        builder.filter_module(ACCESS, log::LevelFilter::Info);
    }
    builder.parse_filters(&rust_log.unwrap_or_else(|| quiet(&settings.level)));
    builder
}

fn write_line(
    out: &mut impl Write,
    format: LogFormat,
    level: log::Level,
    target: &str,
    message: &str,
) -> io::Result<()> {
    let time = humantime::format_rfc3339_millis(SystemTime::now());
    let level = level.as_str().to_ascii_lowercase();
    match format {
        LogFormat::Json => {
            let message = serde_json::Value::from(message);
            writeln!(out, r#"{{"time":"{time}","level":"{level}","target":"{target}","message":{message}}}"#)
        }
        LogFormat::Text => writeln!(out, "{time} {level:<5} {}", printable(message)),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn lets_through(level: &str, access_log: bool, rust_log: Option<&str>, target: &str) -> bool {
        let settings =
            Logging { level: level.to_owned(), format: LogFormat::Json, access_log, ..Logging::default() };
        let logger = filtered(&settings, rust_log.map(str::to_owned)).build();
        let record = Record::builder().level(log::Level::Info).target(target).build();
        // What `log::set_max_level` is given must not hold it back either.
        logger.matches(&record) && logger.filter() >= log::LevelFilter::Info
    }

    #[test]
    fn the_access_log_does_not_depend_on_the_level() {
        for level in ["off", "error", "warn", "info", "warn,aegis=error"] {
            assert!(lets_through(level, true, None, ACCESS), "{level}");
        }
        assert!(lets_through("info", true, Some("warn"), ACCESS));
        assert!(!lets_through("warn", true, None, "aegis::gateway"));
        assert!(!lets_through("warn", false, None, ACCESS));
    }

    #[test]
    fn a_filter_can_turn_the_access_log_off() {
        assert!(!lets_through("info", true, Some("info,access=off"), ACCESS));
        assert!(!lets_through("info,access=off", true, None, ACCESS));
    }

    #[test]
    fn every_line_has_its_time_in_either_format() {
        let line = |format| {
            let mut out = Vec::new();
            write_line(&mut out, format, log::Level::Warn, "aegis::logging", "a \"b\"\nc").expect("it fits");
            String::from_utf8(out).expect("text")
        };
        let json: serde_json::Value = serde_json::from_str(&line(LogFormat::Json)).expect("JSON");
        assert_eq!((&json["level"], &json["message"]), (&"warn".into(), &"a \"b\"\nc".into()));
        assert!(json["time"].as_str().is_some_and(|time| time.ends_with('Z')));
        let text = line(LogFormat::Text);
        assert!(text.ends_with(" warn  a \"b\" c\n") && text.lines().count() == 1, "{text:?}");
    }
}
