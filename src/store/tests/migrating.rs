//! Migrations on both databases, and the schema that they make.

use std::collections::BTreeMap;

use aegis_actors::metrics_aggregator::LimitTally;

use super::sample::*;
use super::*;

on_both!(
    migrations_go_up_down_and_up_again,
    the_schema_is_the_one_that_the_code_was_compiled_for,
    what_was_counted_outlives_the_columns_of_limits,
    several_instances_may_start_at_once_on_an_empty_database,
    a_schema_that_goes_away_is_made_again,
);

const ALL: [&str; 5] = [
    "2026-11-23-000001_rollups",
    "2026-11-23-000002_records",
    "2026-11-23-000003_alerts",
    "2026-11-23-000004_alert_pushes",
    "2026-11-23-000005_limits_by_route",
];

fn migrations_go_up_down_and_up_again(database: Database) {
    let store = database.store(&Clock::at(T));
    let state =
        |applied: [bool; ALL.len()]| ALL.into_iter().map(str::to_owned).zip(applied).collect::<Vec<_>>();
    assert_eq!(
        store.migrate(Order::Status).unwrap(),
        Applied { all: state([false; ALL.len()]), ..Applied::default() }
    );
    let up = store.migrate(Order::Run).unwrap();
    assert_eq!(
        (up.done.as_slice(), up.all.clone()),
        (ALL.map(str::to_owned).as_slice(), state([true; ALL.len()]))
    );
    assert_eq!(store.migrate(Order::Run).unwrap().done, Vec::<String>::new());
    let tables = tables(&database);
    for left in (0..ALL.len()).rev() {
        let down = store.migrate(Order::Revert).unwrap();
        assert_eq!(down.done, [ALL[left]]);
        assert_eq!(down.pending(), &ALL[left..]);
    }
    assert_eq!(store.migrate(Order::Revert).unwrap().done, Vec::<String>::new());
    assert!(self::tables(&database).is_empty());
    store.migrate(Order::Run).unwrap();
    assert_eq!(self::tables(&database), tables);
    // A version that this program does not have is left alone.
    let newer = "INSERT INTO __diesel_schema_migrations (version) VALUES ('29991231000000') RETURNING version AS line";
    database.ask(newer);
    assert_eq!(store.migrate(Order::Run).unwrap().unknown, ["29991231000000"]);
    wait(store.prepare());
    assert!(store.migrate(Order::Revert).unwrap_err().to_string().contains("29991231000000"));
}

/// Tables with their columns, in order: name, type as diesel has it, nullable, place in the key.
type Tables = BTreeMap<String, Vec<(String, String, bool, usize)>>;

fn the_schema_is_the_one_that_the_code_was_compiled_for(database: Database) {
    database.store(&Clock::at(T)).migrate(Order::Run).unwrap();
    assert_eq!(tables(&database), compiled());
}

/// `schema.rs`, read as text: the macro keeps no list of what it was given.
fn compiled() -> Tables {
    let mut tables = Tables::new();
    let (mut table, mut key) = (String::new(), Vec::new());
    for line in include_str!("../schema.rs").lines().map(str::trim) {
        if let Some((name, columns)) = line.strip_suffix(") {").and_then(|line| line.split_once(" (")) {
            table = name.to_owned();
            key = columns.split(", ").map(str::to_owned).collect();
        } else if let Some((name, kind)) = line.strip_suffix(',').and_then(|line| line.split_once(" -> ")) {
            let (kind, nullable) = match kind.strip_prefix("Nullable<") {
                Some(kind) => (kind.trim_end_matches('>'), true),
                None => (kind, false),
            };
            let place = key.iter().position(|column| column == name).map_or(0, |at| at + 1);
            tables.entry(table.clone()).or_default().push((name.into(), kind.into(), nullable, place));
        }
    }
    assert_eq!(tables.len(), 10);
    tables
}

fn tables(database: &Database) -> Tables {
    let lines = if database.is_sqlite() {
        database.ask(
            "SELECT m.name || '|' || c.name || '|' || upper(c.type) || '|' || (c.\"notnull\" = 0) || '|' || c.pk AS line \
             FROM sqlite_master m JOIN pragma_table_info(m.name) c WHERE m.type = 'table' AND m.name NOT LIKE '\\_\\_%' ESCAPE '\\' \
             ORDER BY m.name, c.cid",
        )
    } else {
        database.ask(
            "SELECT c.table_name || '|' || c.column_name || '|' || upper(c.data_type) || '|' \
             || (c.is_nullable = 'YES')::int || '|' || coalesce(k.ordinal_position, 0) AS line \
             FROM information_schema.columns c \
             LEFT JOIN information_schema.table_constraints p ON p.table_schema = c.table_schema \
             AND p.table_name = c.table_name AND p.constraint_type = 'PRIMARY KEY' \
             LEFT JOIN information_schema.key_column_usage k ON k.constraint_name = p.constraint_name \
             AND k.table_name = c.table_name AND k.column_name = c.column_name \
             WHERE c.table_schema = 'public' AND c.table_name NOT LIKE '\\_\\_%' ORDER BY c.table_name, c.ordinal_position",
        )
    };
    let mut tables = Tables::new();
    for line in lines {
        let [table, column, kind, nullable, place] = line.split('|').collect::<Vec<_>>().try_into().unwrap();
        let kind = match kind {
            "TEXT" => "Text",
            "BIGINT" => "BigInt",
            // The only name that makes a key of SQLite's own numbering, which has 64 bits.
            "INTEGER" if database.is_sqlite() && table == "series" && column == "id" => "BigInt",
            "INTEGER" => "Integer",
            "SMALLINT" => "SmallInt",
            "BLOB" | "BYTEA" => "Binary",
            "DOUBLE" | "DOUBLE PRECISION" => "Double",
            other => other,
        };
        let row = (column.to_owned(), kind.to_owned(), nullable == "1", place.parse().unwrap());
        tables.entry(table.to_owned()).or_default().push(row);
    }
    tables
}

fn what_was_counted_outlives_the_columns_of_limits(database: Database) {
    let clock = Clock::at(T + 60);
    let store = database.store(&clock);
    let write = |start: i64| {
        let batch = rollups(vec![rollup(start, some_series(0), tally(5, 1))]);
        wait(store.write_batch(writer("a", "1"), batch));
    };
    // One row that is merged, and one that is not.
    write(T);
    clock.set(T + 600);
    write(T + 590);
    wait(store.maintain());
    assert_eq!(database.count("rollups"), 1);
    let newest = ALL[ALL.len() - 1];
    assert_eq!(store.migrate(Order::Revert).unwrap().done, [newest]);
    assert_eq!((database.count("limit_rollups"), database.count("merged_limits")), (0, 0));
    assert_eq!(store.migrate(Order::Run).unwrap().done, [newest]);
    let told = wait(store.series(Range { from: T, to: T + 600 }, 600, Filter::default(), Detail::Latency));
    let (counted, written) = (&told[0].tally, tally(5, 1));
    assert_eq!((counted.requests, counted.failed, counted.total_us), (10, 2, 2 * written.total_us));
    assert_eq!((counted.latency.count(), counted.limits), (10, LimitTally::default()));
}

fn several_instances_may_start_at_once_on_an_empty_database(database: Database) {
    std::thread::scope(|scope| {
        for instance in ["a", "b", "c", "d"] {
            let database = &database;
            scope.spawn(move || {
                let store = database.store(&Clock::at(T + 60));
                let batch = rollups(vec![rollup(T, some_series(0), tally(5, 1))]);
                wait(store.write_batch(writer(instance, "1"), batch));
            });
        }
    });
    let store = database.store(&Clock::at(T + 60));
    let told = wait(store.series(Range { from: T, to: T + 10 }, 10, Filter::default(), Detail::Counts));
    assert_eq!(told[0].tally.requests, 20);
    assert_eq!(store.migrate(Order::Status).unwrap().pending(), Vec::<&str>::new());
}

fn a_schema_that_goes_away_is_made_again(database: Database) {
    let store = database.store(&Clock::at(T + 60));
    wait(store.prepare());
    for _ in ALL {
        store.migrate(Order::Revert).unwrap();
    }
    let write = || store.write_batch(writer("a", "1"), rollups(vec![rollup(T, some_series(0), tally(5, 1))]));
    let error = attempt(write()).unwrap_err();
    assert!(error.tells_of_missing_tables(), "{error}");
    wait(write());
    assert_eq!(database.count("rollups"), 1);
}

#[test]
fn without_auto_migrate_the_store_says_what_to_do() {
    let database = Database::postgres();
    let options = Options { auto_migrate: false, ..database.options(&Clock::at(T)) };
    let store = Store::open(&database.url, options).unwrap();
    let error = attempt(store.prepare()).unwrap_err();
    assert_eq!(error.why(), &StoreError::Behind(ALL.map(str::to_owned).to_vec()));
    assert!(error.to_string().contains("run `aegis migrate`"));
    store.migrate(Order::Run).unwrap();
    wait(store.prepare());
}

#[test]
fn the_same_migrations_are_there_for_both_databases() {
    let names = |folder: &str| {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").join(folder);
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let mut names: Vec<_> = entries
            .map(|path| {
                assert!(path.join("up.sql").exists() && path.join("down.sql").exists());
                path.file_name().unwrap().to_owned()
            })
            .collect();
        names.sort_unstable();
        names
    };
    assert_eq!(names("postgres"), ALL);
    assert_eq!(names("sqlite"), ALL);
}
