//! Applying a configuration while the old one serves.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use actix::{AsyncContext as _, Context, Handler};
use aegis_actors::metrics_aggregator::{Changed, ConfigChange};
use aegis_actors::supervision::count_message;

use super::events::Event;
use super::messages::{FilesTouched, Reload, ReloadBy, ReloadRecord, ReloadReport};
use super::watch::{self, FileState};
use super::{Supervisor, build, judge};
use crate::config::{Loaded, Place, Problem, Problems, Severity, diff, load_with, render_redacted, running};
use crate::logging;

/// Editors write a file in several steps, and a copy may take a while: the last touch counts.
const SETTLE: Duration = Duration::from_millis(150);

/// Though not for longer than this after the first one: something may touch the folder all the time.
const SETTLED: Duration = Duration::from_secs(2);

impl Supervisor {
    /// Applies what was loaded, and tells what came of it. `files`: what was in them before they were read; what is
    /// written meanwhile is another change.
    fn reload(
        &mut self,
        by: ReloadBy,
        files: FileState,
        loaded: Result<Loaded, Problems>,
        ctx: &mut Context<Self>,
    ) -> Result<ReloadReport, Vec<Problem>> {
        (self.file_state, self.seen) = (files, None);
        let outcome = loaded.map_err(|problems| problems.0).and_then(|loaded| self.apply(loaded));
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
                self.watch_files(ctx);
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
        let Some(children) = &self.children else { return };
        let at = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        children.metrics.addr.do_send(Changed(ConfigChange {
            at_ms: i64::try_from(at.as_millis()).unwrap_or(i64::MAX),
            instance: self.store.writer.instance.clone(),
            generation: report.generation,
            hash: report.hash.clone(),
            what: report.changes.to_string(),
        }));
    }

    /// Reloads because the files have changed, unless they are being written.
    fn reload_files(&mut self, ctx: &mut Context<Self>) {
        let files = watch::files(&self.loaded);
        let before = FileState::of(&files);
        let loaded = load_with(&self.source, judge);
        // Half a list is a list, so a look in the middle would be applied. The close, or the next look, comes back to it.
        if self.watch.sees_writing(&files) || FileState::of(&files) != before {
            return;
        }
        let _ = self.reload(ReloadBy::File, before, loaded, ctx);
    }

    /// Looks whether the files have changed in a way that nobody has told.
    pub(super) fn look(&mut self, ctx: &mut Context<Self>) {
        if !self.loaded.settings.hot_reload {
            return;
        }
        self.watch_files(ctx);
        let files = FileState::of(&watch::files(&self.loaded));
        if files == self.file_state {
            self.seen = None;
        } else if self.seen.as_ref() == Some(&files) {
            self.reload_files(ctx);
        } else {
            self.seen = Some(files);
        }
    }

    fn apply(&mut self, loaded: Loaded) -> Result<ReloadReport, Vec<Problem>> {
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
        let before = self.shared.snapshot.load_full();
        let generation = before.generation + 1;
        let snapshot = build(&loaded.settings, Some(&before), generation, self.workers)
            .map_err(|error| refuse(error.to_string()))?;
        if let (Some(tls), Some(files)) = (&self.tls, &loaded.settings.server.tls) {
            tls.reload(files).map_err(|error| refuse(error.to_string()))?;
        }
        // From here on nothing fails.
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
        self.file_state.extend(&watch::files(&self.loaded));
        Ok(ReloadReport { generation, hash: self.loaded.hash.clone(), changes, warnings })
    }
}

impl Supervisor {
    /// What has become of the file, where it names nothing any more, or no backends: a redirection empties a file before it
    /// writes, a writer may rest in the middle for longer than it is waited for, and no backends at all are hardly ever
    /// meant.
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
    type Result = Result<ReloadReport, Vec<Problem>>;

    fn handle(&mut self, reload: Reload, ctx: &mut Self::Context) -> Self::Result {
        count_message();
        let files = FileState::of(&watch::files(&self.loaded));
        let loaded = load_with(&self.source, judge);
        self.reload(reload.by, files, loaded, ctx)
    }
}

impl Handler<FilesTouched> for Supervisor {
    type Result = ();

    fn handle(&mut self, _: FilesTouched, ctx: &mut Self::Context) {
        let now = Instant::now();
        let first = match self.file_check.take() {
            // As late as it may be already.
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
            let changed = || FileState::of(&watch::files(&this.loaded)) != this.file_state;
            if this.loaded.settings.hot_reload && changed() {
                this.reload_files(ctx);
            }
        });
        self.file_check = Some((first, check));
    }
}
