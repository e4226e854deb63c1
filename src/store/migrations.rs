//! The migrations of `migrations/`, built into the binary, and what can be done with them.

use diesel::backend::Backend;
use diesel::migration::{Migration, MigrationSource, Result};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

pub(super) const POSTGRES: EmbeddedMigrations = embed_migrations!("migrations/postgres");
pub(super) const SQLITE: EmbeddedMigrations = embed_migrations!("migrations/sqlite");

/// What to do with the migrations of a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Apply all that are missing.
    Run,
    /// Undo the newest one.
    Revert,
    /// Change nothing.
    Status,
}

/// What was done, and how things stand then.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Names of the migrations that were applied or undone, in that order.
    pub done: Vec<String>,
    /// Every migration that this program has, oldest first, and whether it is applied.
    pub all: Vec<(String, bool)>,
    /// Versions that are applied and that this program does not have: a newer one was here.
    pub unknown: Vec<String>,
}

impl Applied {
    /// Names of the migrations that are still to be applied.
    pub fn pending(&self) -> Vec<&str> {
        self.all.iter().filter(|(_, applied)| !applied).map(|(name, _)| name.as_str()).collect()
    }
}

/// Names of the migrations whose versions are not among `applied`, oldest first.
pub(super) fn missing<DB: Backend>(
    source: EmbeddedMigrations,
    applied: &[String],
) -> std::result::Result<Vec<String>, String> {
    let all: Vec<Box<dyn Migration<DB>>> = source.migrations().map_err(|error| error.to_string())?;
    let missing = all.iter().filter(|migration| !applied.contains(&migration.name().version().to_string()));
    let mut names: Vec<String> = missing.map(|migration| migration.name().to_string()).collect();
    names.sort_unstable();
    Ok(names)
}

/// How things stand where nothing is yet.
pub(super) fn none(source: EmbeddedMigrations) -> std::result::Result<Applied, String> {
    let all = missing::<diesel::sqlite::Sqlite>(source, &[])?.into_iter().map(|name| (name, false));
    Ok(Applied { all: all.collect(), ..Applied::default() })
}

/// Carries out an order, within a transaction of the caller's.
pub(super) fn carry_out<DB: Backend>(
    database: &mut impl MigrationHarness<DB>,
    source: EmbeddedMigrations,
    order: Order,
) -> Result<Applied> {
    let mut all: Vec<Box<dyn Migration<DB>>> = source.migrations()?;
    all.sort_unstable_by(|a, b| a.name().version().cmp(&b.name().version()));
    let mut done = Vec::new();
    match order {
        Order::Run => {
            let applied = database.applied_migrations()?;
            for migration in all.iter().filter(|migration| !applied.contains(&migration.name().version())) {
                database.run_migration(&**migration)?;
                done.push(migration.name().to_string());
            }
        }
        Order::Revert => {
            let newest = database.applied_migrations()?.into_iter().max();
            if let Some(newest) = newest {
                let Some(migration) = all.iter().find(|migration| migration.name().version() == newest)
                else {
                    return Err(format!(
                        "migration {newest} is not of this version of aegis, which cannot undo it"
                    )
                    .into());
                };
                database.revert_migration(&**migration)?;
                done.push(migration.name().to_string());
            }
        }
        Order::Status => {}
    }
    let applied = database.applied_migrations()?;
    let known: Vec<_> = all.iter().map(|migration| migration.name().version().as_owned()).collect();
    let mut unknown: Vec<String> =
        applied.iter().filter(|version| !known.contains(version)).map(ToString::to_string).collect();
    unknown.sort_unstable();
    let all = all
        .iter()
        .map(|migration| (migration.name().to_string(), applied.contains(&migration.name().version())));
    Ok(Applied { done, all: all.collect(), unknown })
}
