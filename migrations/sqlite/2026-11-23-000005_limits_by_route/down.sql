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

ALTER TABLE merged_rollups DROP COLUMN limit_bypassed;
ALTER TABLE merged_rollups DROP COLUMN limit_shadow;
ALTER TABLE merged_rollups DROP COLUMN limit_limited;
ALTER TABLE merged_rollups DROP COLUMN limit_allowed;
ALTER TABLE rollups DROP COLUMN limit_bypassed;
ALTER TABLE rollups DROP COLUMN limit_shadow;
ALTER TABLE rollups DROP COLUMN limit_limited;
ALTER TABLE rollups DROP COLUMN limit_allowed;
