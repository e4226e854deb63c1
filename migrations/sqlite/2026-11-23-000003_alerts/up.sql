-- Alerts that fired. Times are Unix milliseconds; one without resolved_at_ms is firing.
CREATE TABLE alerts (
    id TEXT PRIMARY KEY NOT NULL,
    rule_id TEXT NOT NULL,
    name TEXT NOT NULL,
    severity TEXT NOT NULL,
    value DOUBLE NOT NULL,
    threshold DOUBLE NOT NULL,
    message TEXT NOT NULL,
    instance TEXT NOT NULL,
    fired_at_ms BIGINT NOT NULL,
    resolved_at_ms BIGINT,
    acknowledged_at_ms BIGINT
);
-- Several instances judge the same rule; the first one fires.
CREATE UNIQUE INDEX alerts_one_open ON alerts (rule_id) WHERE resolved_at_ms IS NULL;
CREATE INDEX alerts_fired ON alerts (fired_at_ms);
