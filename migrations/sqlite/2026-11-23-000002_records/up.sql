-- Single requests that are kept whole, and changes of the running configuration. Times are Unix milliseconds. The keys
-- hold everything that tells two of them apart, so that a batch that is written again adds nothing.

CREATE TABLE request_samples (
    request_id TEXT NOT NULL,
    at_ms BIGINT NOT NULL,
    instance TEXT NOT NULL,
    method TEXT NOT NULL,
    path TEXT NOT NULL,
    route TEXT NOT NULL,
    backend TEXT NOT NULL,
    status INTEGER NOT NULL,
    reason TEXT,
    duration_us BIGINT NOT NULL,
    client TEXT NOT NULL,
    details TEXT NOT NULL,
    PRIMARY KEY (request_id, at_ms, instance)
);
CREATE INDEX request_samples_at_ms ON request_samples (at_ms);

CREATE TABLE config_changes (
    instance TEXT NOT NULL,
    at_ms BIGINT NOT NULL,
    generation BIGINT NOT NULL,
    hash TEXT NOT NULL,
    what TEXT NOT NULL,
    PRIMARY KEY (instance, at_ms, generation)
);
