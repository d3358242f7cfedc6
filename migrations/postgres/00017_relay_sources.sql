-- +goose Up
-- The leader epoch in which the record of newest_offset was written; -1 where none is known. A log
-- that has lost its end gives offsets out again, in a higher epoch: a mark says nothing of those.
ALTER TABLE relay_progress ADD COLUMN epoch BIGINT NOT NULL DEFAULT -1;

-- When a replica last had a source. What relay_progress has of one that nobody has had for weeks
-- is about a topic that is gone or was made anew.
CREATE TABLE relay_sources (
  source   TEXT COLLATE "C" NOT NULL PRIMARY KEY,
  used_at  BIGINT           NOT NULL
);
CREATE INDEX relay_sources_used_at ON relay_sources (used_at, source);
INSERT INTO relay_sources (source, used_at)
  SELECT DISTINCT source, CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT) FROM relay_progress;
