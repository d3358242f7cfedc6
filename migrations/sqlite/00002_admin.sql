-- +goose Up
-- What operators need: control of rules, an audit, and indexes to look things up.

-- An operator's word on a rule; no row means that nobody has said anything.
CREATE TABLE rule_controls (
  rule_id TEXT    PRIMARY KEY,
  paused  BOOLEAN NOT NULL,
  actor   TEXT    NOT NULL,                     -- who said it last
  reason  TEXT    NOT NULL DEFAULT '',
  at      BIGINT  NOT NULL
);

-- Every change that an operator made. Rows are only ever added.
CREATE TABLE audit (
  id           INTEGER PRIMARY KEY AUTOINCREMENT,
  at           BIGINT NOT NULL,
  actor        TEXT   NOT NULL,
  action       TEXT   NOT NULL,
  subject      TEXT   NOT NULL,                 -- kind/id: rule/bet-settled, run/12
  before_state TEXT   NOT NULL,                 -- JSON, null where there was nothing
  after_state  TEXT   NOT NULL,
  request_id   TEXT   NOT NULL DEFAULT ''
);
-- +goose StatementBegin
CREATE TRIGGER audit_keeps_rows BEFORE DELETE ON audit BEGIN
  SELECT RAISE(ABORT, 'audit is append-only');
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER audit_keeps_values BEFORE UPDATE ON audit BEGIN
  SELECT RAISE(ABORT, 'audit is append-only');
END;
-- +goose StatementEnd

-- INSERT OR REPLACE deletes without asking the trigger for DELETE.
-- +goose StatementBegin
CREATE TRIGGER audit_keeps_ids BEFORE INSERT ON audit WHEN EXISTS (SELECT 1 FROM audit WHERE id = NEW.id) BEGIN
  SELECT RAISE(ABORT, 'audit is append-only');
END;
-- +goose StatementEnd

-- A list of deliveries is read backwards in time along one of these. Their
-- columns never change but for the state, whose index leaves out those that
-- are on their way or have arrived: what is looked for is what went wrong.
CREATE INDEX deliveries_user    ON deliveries (user_id, created_at, id);
CREATE INDEX deliveries_device  ON deliveries (device_id, created_at, id);
CREATE INDEX deliveries_rule    ON deliveries (rule_id, created_at, id);
CREATE INDEX deliveries_created ON deliveries (created_at, id);
CREATE INDEX deliveries_unsent  ON deliveries (state, created_at, id) WHERE state NOT IN ('queued', 'leased', 'sent');

CREATE INDEX runs_rule   ON runs (rule_id, id);
CREATE INDEX runs_state  ON runs (state, id);
CREATE INDEX runs_failed ON runs (rule_id, id) WHERE state = 'failed';

CREATE INDEX bad_rows_seen      ON bad_rows (first_seen, rule_id, row_hash);
CREATE INDEX bad_rows_rule_seen ON bad_rows (rule_id, first_seen, row_hash);
