-- What rate limits decided is counted with the requests that it was decided for, and so by route, backend, method and status
-- class. The tables that knew a rule and no route go; what they held goes too, as nothing in them says of which route it was.
ALTER TABLE rollups ADD COLUMN limit_allowed BIGINT NOT NULL DEFAULT 0;
ALTER TABLE rollups ADD COLUMN limit_limited BIGINT NOT NULL DEFAULT 0;
ALTER TABLE rollups ADD COLUMN limit_shadow BIGINT NOT NULL DEFAULT 0;
ALTER TABLE rollups ADD COLUMN limit_bypassed BIGINT NOT NULL DEFAULT 0;
ALTER TABLE merged_rollups ADD COLUMN limit_allowed BIGINT NOT NULL DEFAULT 0;
ALTER TABLE merged_rollups ADD COLUMN limit_limited BIGINT NOT NULL DEFAULT 0;
ALTER TABLE merged_rollups ADD COLUMN limit_shadow BIGINT NOT NULL DEFAULT 0;
ALTER TABLE merged_rollups ADD COLUMN limit_bypassed BIGINT NOT NULL DEFAULT 0;

DROP TABLE merged_limits;
DROP TABLE limit_rollups;
