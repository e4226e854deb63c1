DROP TABLE config_changes;
DROP TABLE request_samples;
