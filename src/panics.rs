//! What a panic prints, without making anybody wait for it.
//!
//! With `RUST_BACKTRACE` set, the usual hook names every frame before it lets the thread unwind. The first time that
//! reads and searches the debug information of the whole program: a tenth of a second on an idle machine, most of a
//! second on a busy one, and for so long an actor is not replaced and a worker serves none of its requests. So the
//! thread that panicked only says so and collects addresses; a thread of its own finds their names.

use std::backtrace::Backtrace;
use std::io::{self, Write as _};
use std::panic::{self, PanicHookInfo};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

/// True from the moment in which a backtrace is collected until it is written. Collecting another one meanwhile would
/// wait for the lock that the standard library holds while it finds names, so there is never more than one.
static BUSY: AtomicBool = AtomicBool::new(false);

/// Whose backtrace, and where it was.
type Found = (String, Backtrace);

/// Takes the hook's place for every thread but this one, whose panics end the process and so hold nobody up. Does
/// nothing unless `RUST_BACKTRACE` asks for backtraces: the usual hook is quick without.
pub fn install() {
    let Some(style) = std::env::var_os("RUST_BACKTRACE").filter(|style| style != "0") else { return };
    let full = style == "full";
    let (queue, found) = sync_channel(1);
    if let Err(error) = thread::Builder::new().name("backtraces".into()).spawn(move || write(found, full)) {
        log::warn!("no thread for backtraces, so a panic holds its thread up: {error}");
        return;
    }
    let (main, usual) = (thread::current().id(), panic::take_hook());
    panic::set_hook(Box::new(move |panic| match thread::current().id() == main {
        true => usual(panic),
        false => tell(panic, &queue),
    }));
}

/// Waits (at most two seconds) until a backtrace that is being written is out.
pub fn flush() {
    let end = Instant::now() + Duration::from_secs(2);
    while BUSY.load(Ordering::Acquire) && Instant::now() < end {
        thread::sleep(Duration::from_millis(5));
    }
}

/// Runs on the thread that panicked. Must not panic: that would abort the process.
fn tell(panic: &PanicHookInfo<'_>, queue: &SyncSender<Found>) {
    let thread = thread::current();
    let name = thread.name().unwrap_or("<unnamed>");
    let free = !BUSY.swap(true, Ordering::AcqRel);
    let note = if free { "" } else { "no backtrace: the one before is still being written\n" };
    print(&format!("\nthread '{name}' {panic}\n{note}"));
    if free {
        // Never full: there is only this one.
        let _ = queue.try_send((name.to_owned(), Backtrace::force_capture()));
    }
}

fn write(found: Receiver<Found>, full: bool) {
    for (name, backtrace) in found {
        let frames = if full { format!("{backtrace:#}") } else { backtrace.to_string() };
        print(&format!("stack backtrace of thread '{name}':\n{frames}\n"));
        BUSY.store(false, Ordering::Release);
    }
}

/// In one piece, so that threads do not mix their lines; whether anybody reads it is not known here.
fn print(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}
