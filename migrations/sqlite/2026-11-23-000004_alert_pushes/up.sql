-- What an alert says of its rule, so that it can be told and shown when the rule has changed or gone.
ALTER TABLE alerts ADD COLUMN metric TEXT NOT NULL DEFAULT '';
ALTER TABLE alerts ADD COLUMN operator TEXT NOT NULL DEFAULT '';
ALTER TABLE alerts ADD COLUMN window_seconds INTEGER NOT NULL DEFAULT 0;
ALTER TABLE alerts ADD COLUMN backend TEXT;
ALTER TABLE alerts ADD COLUMN reason TEXT;

-- How far a webhook has been told of an alert. told 0: nothing, 1: that it fired, 2: that it resolved. One instance at a
-- time tells it: who has the lease. Times are Unix milliseconds. ADR 0012.
CREATE TABLE alert_pushes (
    alert_id TEXT NOT NULL,
    webhook TEXT NOT NULL,
    told SMALLINT NOT NULL,
    attempts INTEGER NOT NULL,
    error TEXT,
    at_ms BIGINT,
    lease_by TEXT NOT NULL,
    lease_until_ms BIGINT NOT NULL,
    PRIMARY KEY (alert_id, webhook)
) WITHOUT ROWID;

-- Which instances see the condition of an open alert, and when they last did. It resolves when none does any more.
CREATE TABLE alert_holders (
    alert_id TEXT NOT NULL,
    instance TEXT NOT NULL,
    at_ms BIGINT NOT NULL,
    PRIMARY KEY (alert_id, instance)
) WITHOUT ROWID;
