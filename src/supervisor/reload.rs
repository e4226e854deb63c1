//! Applying a configuration while the old one serves.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use actix::fut::ready;
use actix::{ActorFutureExt as _, AsyncContext as _, Context, Handler, ResponseActFuture, WrapFuture as _};
use aegis_actors::metrics_aggregator::{Changed, ConfigChange, MetricsAggregatorActor};
use aegis_actors::supervision::count_message;

use super::events::Event;
use super::messages::{FilesTouched, Reload, ReloadBy, ReloadRecord, ReloadReport};
use super::reading::{Turn, Unread};
use super::watch::{self, FileState, Folders};
use super::{Supervisor, build, validate};
use crate::config::settings::ServerTls;
use crate::config::{Loaded, Place, Problem, Problems, Severity, diff, load_with, render_redacted, running};
use crate::gateway::snapshot::Snapshot;
use crate::tls::Asked;
use crate::{logging, tls};

/// Debounce: a change is read this long after the last file event, as editors write a file in several steps.
const SETTLE: Duration = Duration::from_millis(150);

/// But no later than this after the first event: something may touch the folder all the time.
const SETTLED: Duration = Duration::from_secs(2);

/// What was read of the files for a reload.
struct Found {
    /// The files of the running configuration, and their fingerprints from before they were read: what is written meanwhile
    /// is another change.
    files: BTreeSet<PathBuf>,
    state: FileState,
    /// The fingerprints were the same after the read.
    still: bool,
    loaded: Result<Ready, Problems>,
}

/// A configuration, with all that putting it to work needs files for.
struct Ready {
    loaded: Loaded,
    snapshot: Result<Snapshot, String>,
    tls: Option<tls::Served>,
    /// Of its own files.
    state: FileState,
    folders: Folders,
}

type Reading<T> = ResponseActFuture<Supervisor, T>;

impl Supervisor {
    /// Reads what is in the files and makes it ready to be applied.
    fn read(&self, turn: Turn) -> Reading<Result<(Found, Turn), Unread>> {
        let (source, files, workers) = (self.source.clone(), watch::files(&self.loaded), self.workers);
        // Only the holder of the turn replaces the snapshot.
        let (running, serves) = (self.shared.snapshot.load_full(), self.tls.is_some());
        let read = move || {
            let state = FileState::of(&files);
            let ready = |loaded: Loaded| {
                let snapshot = build(&loaded.settings, Some(&running), running.generation + 1, workers);
                let mut snapshot = snapshot.map_err(|error| error.to_string());
                let read = |tls: &ServerTls| tls::read(tls, Asked::of(&loaded.settings));
                let tls = loaded.settings.server.tls.as_ref().filter(|_| serves).map(read).transpose();
                let tls = tls.unwrap_or_else(|error| {
                    snapshot = Err(error.to_string());
                    None
                });
                let (state, folders) = (state.extended(&watch::files(&loaded)), watch::folders(&loaded));
                Ready { loaded, snapshot, tls, state, folders }
            };
            let loaded = load_with(&source, validate).map(ready);
            let still = FileState::of(&files) == state;
            Found { files, state, still, loaded }
        };
        Box::pin(self.reader.read(turn, read).into_actor(self))
    }

    /// Applies what was found, and tells what came of it.
    fn reload(
        &mut self,
        by: ReloadBy,
        found: Result<Found, Unread>,
        ctx: &mut Context<Self>,
    ) -> Result<ReloadReport, Vec<Problem>> {
        let label = self.source.label(self.loaded.file.as_deref());
        let found = found.map_err(|unread| vec![Place::start(&label).error(unread.to_string())]);
        let outcome = found.and_then(|Found { state, loaded, .. }| {
            (self.file_state, self.seen) = (state, None);
            self.apply(loaded.map_err(|problems| problems.0)?, ctx)
        });
        let by_whom = match by {
            ReloadBy::File => "the file changed",
            ReloadBy::Signal => "SIGHUP",
            ReloadBy::Admin => "asked by the admin API",
        };
        let (problems, changes) = match &outcome {
            Ok(report) => {
                self.reloads.applied += 1;
                log::info!(
                    "configuration reloaded ({by_whom}), generation {}: {}",
                    report.generation,
                    report.changes
                );
                self.events.push(Event::reload(format!("applied: {}", report.changes)));
                self.store_change(report);
                (Vec::new(), Some(report.changes.clone()))
            }
            Err(problems) => {
                self.reloads.refused += 1;
                for problem in problems {
                    log::error!("reload refused ({by_whom}), the running configuration stays: {problem}");
                }
                let errors = problems.iter().filter(|p| p.severity == Severity::Error).count();
                self.events.push(Event::reload(format!("refused: {errors} problems")));
                (problems.iter().map(ToString::to_string).collect(), None)
            }
        };
        let ok = outcome.is_ok();
        self.last_reload = Some(ReloadRecord { at: SystemTime::now(), by, ok, errors: problems, changes });
        outcome
    }

    /// Notes an applied configuration for the metrics store.
    fn store_change(&self, report: &ReloadReport) {
        let addresses = self.children.addresses();
        let Some(aggregator) = addresses.of::<MetricsAggregatorActor>() else { return };
        let at = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        aggregator.do_send(Changed(ConfigChange {
            at_ms: i64::try_from(at.as_millis()).unwrap_or(i64::MAX),
            instance: self.store.writer.instance.clone(),
            generation: report.generation,
            hash: report.hash.clone(),
            what: report.changes.to_string(),
        }));
    }

    /// Reloads because the files have changed, unless they are being written.
    fn reload_files(&self, turn: Turn, ctx: &mut Context<Self>) {
        ctx.spawn(self.read(turn).map(|found, this, ctx| {
            let Ok((found, _turn)) = found else { return };
            // A half-written file may be valid YAML and must not be applied. The event of its close, or the next poll, reads it
            // again.
            if found.still && !this.watch.sees_writing(&found.files) {
                let _ = this.reload(ReloadBy::File, Ok(found), ctx);
            }
        }));
    }

    /// Compares the files with what runs. A change that a file event announced (`told`) is applied at once; one found by
    /// polling alone may be half written, so two polls in a row must find the same content.
    fn look_in(&self, turn: Turn, told: bool, ctx: &mut Context<Self>) {
        let files = watch::files(&self.loaded);
        let looked = self.reader.read(turn, move || (watch::folders_of(&files), FileState::of(&files)));
        ctx.spawn(looked.into_actor(self).map(move |looked, this, ctx| {
            let Ok(((folders, files), turn)) = looked else { return };
            this.watch_folders(folders, ctx);
            if files == this.file_state {
                this.seen = None;
            } else if told || this.seen.as_ref() == Some(&files) {
                this.reload_files(turn, ctx);
            } else {
                this.seen = Some(files);
            }
        }));
    }

    /// A poll. Skipped while files are being read.
    pub(super) fn look(&mut self, ctx: &mut Context<Self>) {
        if self.loaded.settings.hot_reload
            && let Some(turn) = self.reader.turn_now()
        {
            self.look_in(turn, false, ctx);
        }
    }

    fn apply(&mut self, ready: Ready, ctx: &Context<Self>) -> Result<ReloadReport, Vec<Problem>> {
        let Ready { loaded, snapshot, tls, state, folders } = ready;
        let label = self.source.label(loaded.file.as_deref());
        let refuse = |what: String| vec![Place::start(&label).error(what)];
        if let Some(what) = self.lost(&loaded) {
            return Err(refuse(what));
        }
        if loaded.settings.admin.token.is_empty() && !self.admin.ip().is_loopback() {
            return Err(refuse(format!(
                "`admin.token` is empty, but the admin listener is bound to {} until a restart and can be reached \
                 from other machines: keep the token, or restart with a loopback `admin.host`",
                self.admin
            )));
        }
        let snapshot = snapshot.map_err(refuse)?;
        let generation = snapshot.generation;
        // From here on nothing fails.
        if let (Some(serving), Some(read)) = (&self.tls, tls) {
            serving.replace(read);
        }
        let changes = diff(&running(&self.started, &self.loaded.settings), &loaded.settings);
        self.shared.snapshot.store(Arc::new(snapshot));
        self.shared.admin.store(Arc::new(loaded.settings.admin.clone()));
        self.shared.server.store(Arc::new(loaded.settings.server.clone()));
        self.forget_transitions();
        self.publish_targets();
        logging::init(&loaded.settings.logging);
        for key in &changes.needs_restart {
            log::warn!("{key} changed: it applies after a restart");
        }
        let warnings = loaded.warnings.iter().map(ToString::to_string).collect();
        self.effective = render_redacted(&running(&self.started, &loaded.settings));
        self.pending_restart.clone_from(&changes.needs_restart);
        self.loaded = loaded;
        self.file_state = state;
        self.watch_folders(folders, ctx);
        Ok(ReloadReport { generation, hash: self.loaded.hash.clone(), changes, warnings })
    }
}

impl Supervisor {
    /// Why a file that is gone, is empty, or lists no backends any more is refused: a shell redirection empties a file before
    /// it writes, a writer may pause for longer than it is waited for, and removing every backend is hardly ever meant.
    fn lost(&self, loaded: &Loaded) -> Option<String> {
        let before = self.loaded.file.as_deref()?;
        if loaded.file.as_deref() != Some(before) {
            return Some(format!("{} is gone: put it back", before.display()));
        }
        let what = if loaded.says_nothing && !self.loaded.says_nothing {
            "nothing is configured: write it again"
        } else if !loaded.lists_backends && !self.loaded.settings.backends.is_empty() {
            "every backend is gone, for `backends` is missing or has nothing after it: write them again"
        } else {
            return None;
        };
        Some(format!("{what}; a gateway without backends is configured by `backends: []`"))
    }
}

impl Handler<Reload> for Supervisor {
    type Result = Reading<Result<ReloadReport, Vec<Problem>>>;

    fn handle(&mut self, Reload { by }: Reload, _: &mut Self::Context) -> Self::Result {
        count_message();
        let read = self.reader.turn().into_actor(self).then(|turn, this: &mut Self, _| match turn {
            Ok(turn) => this.read(turn),
            Err(unread) => Box::pin(ready(Err(unread))),
        });
        Box::pin(read.map(move |found, this, ctx| {
            let (found, _turn) = match found {
                Ok((found, turn)) => (Ok(found), Some(turn)),
                Err(unread) => (Err(unread), None),
            };
            this.reload(by, found, ctx)
        }))
    }
}

impl Handler<FilesTouched> for Supervisor {
    type Result = ();

    fn handle(&mut self, _: FilesTouched, ctx: &mut Self::Context) {
        let now = Instant::now();
        let first = match self.file_check.take() {
            // The read is already as late as it may be.
            Some((first, check)) if now + SETTLE > first + SETTLED => {
                self.file_check = Some((first, check));
                return;
            }
            Some((first, check)) => {
                ctx.cancel_future(check);
                first
            }
            None => now,
        };
        let check = ctx.run_later(SETTLE, |this, ctx| {
            this.file_check = None;
            // Where no turn comes in time, the next poll finds the change.
            ctx.spawn(this.reader.turn().into_actor(this).map(|turn, this, ctx| {
                if let (true, Ok(turn)) = (this.loaded.settings.hot_reload, turn) {
                    this.look_in(turn, true, ctx);
                }
            }));
        });
        self.file_check = Some((first, check));
    }
}
