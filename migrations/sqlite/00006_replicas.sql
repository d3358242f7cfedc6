-- +goose Up
-- The running processes, so that of different rules during a deployment one set is in force.
CREATE TABLE replicas (
  owner      TEXT   PRIMARY KEY,
  generation TEXT   NOT NULL,  -- of its rules
  version    TEXT   NOT NULL,  -- of its binary
  since      BIGINT NOT NULL,  -- when it took its rules
  seen_at    BIGINT NOT NULL   -- when it was last heard of
);

-- The rules of the living replica that took its rules last: one row at the most. Runs and
-- gates ask for it, so it is kept apart from what changes every few seconds.
CREATE TABLE rules_in_force (
  id         BIGINT PRIMARY KEY CHECK (id = 1),
  generation TEXT   NOT NULL,
  since      BIGINT NOT NULL   -- when they came into force
);
