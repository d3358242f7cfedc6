-- +goose Up
-- What operators have stopped: nothing of a rule is sent, or nothing at all (an empty rule_id).
CREATE TABLE stops (
  rule_id TEXT COLLATE "C" PRIMARY KEY,
  actor   TEXT   NOT NULL,
  reason  TEXT   NOT NULL DEFAULT '',
  at      BIGINT NOT NULL
);

-- Above how many deliveries a run was held, as far as a limit was asked for.
ALTER TABLE runs ADD COLUMN planned_limit BIGINT NOT NULL DEFAULT 0;
-- The history that a rule's runs are measured against.
CREATE INDEX runs_planned ON runs (rule_id, id) WHERE state = 'released' AND planned > 0;
