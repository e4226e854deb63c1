DROP TABLE alert_holders;
DROP TABLE alert_pushes;
ALTER TABLE alerts DROP COLUMN reason;
ALTER TABLE alerts DROP COLUMN backend;
ALTER TABLE alerts DROP COLUMN window_seconds;
ALTER TABLE alerts DROP COLUMN operator;
ALTER TABLE alerts DROP COLUMN metric;
