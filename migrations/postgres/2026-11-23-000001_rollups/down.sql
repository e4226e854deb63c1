DROP TABLE merged_limits;
DROP TABLE limit_rollups;
DROP TABLE levels;
DROP TABLE merged_rollups;
DROP TABLE series;
DROP TABLE writers;
DROP TABLE rollups;
