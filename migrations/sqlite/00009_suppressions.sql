-- +goose Up
-- Who must not be sent to. Gates read it just before each send, by user.
CREATE TABLE suppressions (
  user_id  TEXT   NOT NULL,
  reason   TEXT   NOT NULL,                     -- self_exclusion | cool_off | account_closed | jurisdiction
  class    TEXT   NOT NULL,                     -- marketing | service (both) | all
  from_at  BIGINT NOT NULL DEFAULT 0,           -- 0: from the beginning
  until_at BIGINT NOT NULL DEFAULT 0,           -- not included; 0: for good
  note     TEXT   NOT NULL DEFAULT '',
  set_by   TEXT   NOT NULL,
  set_at   BIGINT NOT NULL,
  PRIMARY KEY (user_id, reason)
);
