-- +goose Up
-- Up to which offset of a partition a channel has got its records, where a restart must not
-- publish them again. A row is of use until the partition's committed offset has passed it.
CREATE TABLE relay_progress (
  source         TEXT   NOT NULL,  -- cluster/topic/id of the topic/partition
  channel        TEXT   NOT NULL,
  newest_offset  BIGINT NOT NULL,
  PRIMARY KEY (source, channel)
);
