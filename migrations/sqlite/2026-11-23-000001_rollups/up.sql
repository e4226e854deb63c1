-- What requests counted: as the instances write it (rollups), and as it is kept (merged_rollups). ADR 0011.

-- One row per writer, stretch of time and series. A writer replaces its own rows until they are merged.
CREATE TABLE rollups (
    instance TEXT NOT NULL,
    boot TEXT NOT NULL,
    start BIGINT NOT NULL,
    seconds INTEGER NOT NULL,
    route TEXT NOT NULL,
    backend TEXT NOT NULL,
    method TEXT NOT NULL,
    class SMALLINT NOT NULL,
    requests BIGINT NOT NULL,
    failed BIGINT NOT NULL,
    limited BIGINT NOT NULL,
    own BIGINT NOT NULL,
    bytes_in BIGINT NOT NULL,
    bytes_out BIGINT NOT NULL,
    total_us BIGINT NOT NULL,
    longest_us BIGINT NOT NULL,
    latency BLOB NOT NULL,
    PRIMARY KEY (instance, boot, start, seconds, route, backend, method, class)
) WITHOUT ROWID;

-- Who writes: every start of every instance. `attempt` fences off a transaction that was given up; rows that end at or
-- before `settled` are not written again.
CREATE TABLE writers (
    instance TEXT NOT NULL,
    boot TEXT NOT NULL,
    attempt BIGINT NOT NULL,
    settled BIGINT NOT NULL,
    seen BIGINT NOT NULL,
    PRIMARY KEY (instance, boot)
) WITHOUT ROWID;

-- Names of what is merged. scope 0: one series; 1: everything of a backend; 2: everything.
CREATE TABLE series (
    id INTEGER PRIMARY KEY NOT NULL,
    instance TEXT NOT NULL,
    scope SMALLINT NOT NULL,
    route TEXT NOT NULL,
    backend TEXT NOT NULL,
    method TEXT NOT NULL,
    class SMALLINT NOT NULL,
    UNIQUE (instance, scope, route, backend, method, class)
);

-- Every request once per resolution (10, 60, 600, 3600, 86400 seconds).
CREATE TABLE merged_rollups (
    seconds INTEGER NOT NULL,
    series BIGINT NOT NULL,
    start BIGINT NOT NULL,
    requests BIGINT NOT NULL,
    failed BIGINT NOT NULL,
    limited BIGINT NOT NULL,
    own BIGINT NOT NULL,
    bytes_in BIGINT NOT NULL,
    bytes_out BIGINT NOT NULL,
    total_us BIGINT NOT NULL,
    longest_us BIGINT NOT NULL,
    latency BLOB NOT NULL,
    PRIMARY KEY (seconds, series, start)
) WITHOUT ROWID;

-- From when on the merged rows of a resolution are complete; older ones are gone.
CREATE TABLE levels (
    seconds INTEGER PRIMARY KEY NOT NULL,
    since BIGINT NOT NULL
);

-- The same of rate limits.
CREATE TABLE limit_rollups (
    instance TEXT NOT NULL,
    boot TEXT NOT NULL,
    start BIGINT NOT NULL,
    seconds INTEGER NOT NULL,
    rule TEXT NOT NULL,
    allowed BIGINT NOT NULL,
    limited BIGINT NOT NULL,
    shadow BIGINT NOT NULL,
    bypassed BIGINT NOT NULL,
    error BIGINT NOT NULL,
    PRIMARY KEY (instance, boot, start, seconds, rule)
) WITHOUT ROWID;

CREATE TABLE merged_limits (
    seconds INTEGER NOT NULL,
    start BIGINT NOT NULL,
    rule TEXT NOT NULL,
    instance TEXT NOT NULL,
    allowed BIGINT NOT NULL,
    limited BIGINT NOT NULL,
    shadow BIGINT NOT NULL,
    bypassed BIGINT NOT NULL,
    error BIGINT NOT NULL,
    PRIMARY KEY (seconds, start, rule, instance)
) WITHOUT ROWID;
