-- +goose Up
-- Who must not be sent to by a query (suppressions.import): a list of its own, beside that of the
-- operators. Gates read both; only an import changes this one.
CREATE TABLE imported_suppressions (
  user_id  TEXT   NOT NULL,
  reason   TEXT   NOT NULL,
  class    TEXT   NOT NULL,
  from_at  BIGINT NOT NULL DEFAULT 0,
  until_at BIGINT NOT NULL DEFAULT 0,
  note     TEXT   NOT NULL DEFAULT '',
  set_by   TEXT   NOT NULL,
  set_at   BIGINT NOT NULL,
  PRIMARY KEY (user_id, reason)
);

-- The imports, one row: who does it, and when it last read all of the result.
CREATE TABLE suppression_imports (
  id           BIGINT PRIMARY KEY,
  owner        TEXT   NOT NULL,
  no           BIGINT NOT NULL,             -- counts the imports that were begun: the fence
  lease_until  BIGINT NOT NULL,             -- until when no other one begins
  succeeded_at BIGINT NOT NULL DEFAULT 0    -- when the last one began that succeeded; 0: none has
);

-- What counts for a user, newest first, without what was refused or is older than any window.
CREATE INDEX frequency_admitted ON frequency (user_id, at) WHERE verdict = 'admitted';
