-- +goose Up
-- All times are microseconds since 1970 UTC; 0 means "not".

CREATE TABLE devices (
  id             TEXT    PRIMARY KEY,
  user_id        TEXT    NOT NULL,
  platform       TEXT    NOT NULL,
  provider       TEXT    NOT NULL,              -- fcm | ably, from target_kind
  target_kind    TEXT    NOT NULL,
  target_value   TEXT    NOT NULL,
  generation     BIGINT  NOT NULL,              -- grows with every change of target or owner
  state          TEXT    NOT NULL,              -- active | inactive | retired
  locale         TEXT    NOT NULL DEFAULT '',
  time_zone      TEXT    NOT NULL DEFAULT '',
  app_version    TEXT    NOT NULL DEFAULT '',
  activated_at   BIGINT  NOT NULL,
  updated_at     BIGINT  NOT NULL,
  retired_reason TEXT    NOT NULL DEFAULT ''
);
CREATE UNIQUE INDEX devices_target_active ON devices (provider, target_value) WHERE state = 'active';
CREATE INDEX devices_user ON devices (user_id);

CREATE TABLE preferences (
  user_id    TEXT   PRIMARY KEY,
  muted      TEXT   NOT NULL DEFAULT '[]',      -- JSON array of categories
  opted_in   TEXT   NOT NULL DEFAULT '[]',
  updated_at BIGINT NOT NULL
);

-- Where each rule stands: rows that arrived before "position" have been read.
CREATE TABLE watermarks (
  rule_id  TEXT   PRIMARY KEY,
  identity TEXT   NOT NULL,                     -- hash of key, version and order columns
  start_at BIGINT NOT NULL,                     -- nothing before it is ever read
  position BIGINT NOT NULL,
  swept_at BIGINT NOT NULL
);

CREATE TABLE runs (
  id          INTEGER PRIMARY KEY,
  rule_id     TEXT    NOT NULL,
  tick_at     BIGINT  NOT NULL,
  state       TEXT    NOT NULL,                 -- reading | released | held | discarded | failed
  baseline    BOOLEAN NOT NULL,                 -- what it reads is taken as known, not announced
  since_at    BIGINT  NOT NULL,
  until_at    BIGINT  NOT NULL,
  generation  TEXT    NOT NULL,                 -- of the rules that the run was made with
  owner       TEXT    NOT NULL,
  lease_until BIGINT  NOT NULL,
  rows_read   BIGINT  NOT NULL DEFAULT 0,
  staged      BIGINT  NOT NULL DEFAULT 0,
  adopted     BIGINT  NOT NULL DEFAULT 0,
  swept       BIGINT  NOT NULL DEFAULT 0,       -- staged by the sweep only: they became visible late
  bad_rows    BIGINT  NOT NULL DEFAULT 0,
  planned     BIGINT  NOT NULL DEFAULT 0,       -- deliveries that a held run would make
  error       TEXT    NOT NULL DEFAULT '',
  started_at  BIGINT  NOT NULL,
  finished_at BIGINT  NOT NULL DEFAULT 0,
  UNIQUE (rule_id, tick_at)
);
-- One running run per rule.
CREATE UNIQUE INDEX runs_reading ON runs (rule_id) WHERE state = 'reading';

CREATE TABLE notifications (
  id           INTEGER PRIMARY KEY AUTOINCREMENT, -- grows, and is the sequence number that an app sees
  rule_id      TEXT    NOT NULL,
  identity     TEXT    NOT NULL DEFAULT '',     -- of the rule then; versions of another one cannot be compared
  key          TEXT    NOT NULL,
  version      BIGINT  NOT NULL,
  version_hash TEXT    NOT NULL,
  order_value  BIGINT  NOT NULL,
  latest       BOOLEAN NOT NULL,
  thread       TEXT    NOT NULL,
  follow_up    BOOLEAN NOT NULL,                -- the thread has an older notification
  audience     TEXT    NOT NULL,                -- user | all | follows
  user_id      TEXT    NOT NULL DEFAULT '',
  variant      TEXT    NOT NULL DEFAULT '',
  category     TEXT    NOT NULL,
  class        TEXT    NOT NULL,
  urgency      TEXT    NOT NULL,
  state        TEXT    NOT NULL,                -- staged | passed | baseline | released | held | discarded | superseded
  shadow       BOOLEAN NOT NULL DEFAULT FALSE,  -- its rule did not send then: it takes nothing's place
  run_id       BIGINT  NOT NULL,
  source_row   TEXT    NOT NULL,                -- JSON
  due_at       BIGINT  NOT NULL DEFAULT 0,      -- when the event happened, where the rule says
  expires_at   BIGINT  NOT NULL,
  created_at   BIGINT  NOT NULL,
  released_at  BIGINT  NOT NULL DEFAULT 0,
  fanned_at    BIGINT  NOT NULL DEFAULT 0,
  fan_cursor   TEXT    NOT NULL DEFAULT '',     -- the last device id that has its delivery
  UNIQUE (rule_id, key, version)
);
CREATE UNIQUE INDEX notifications_latest ON notifications (rule_id, key) WHERE latest;
CREATE INDEX notifications_thread ON notifications (thread, id);
CREATE INDEX notifications_run ON notifications (run_id);
-- Staged, and the watermark has passed its row: the next run that ends well releases it.
CREATE INDEX notifications_passed ON notifications (rule_id) WHERE state = 'passed';
CREATE INDEX notifications_user ON notifications (user_id, id) WHERE user_id <> '';
CREATE INDEX notifications_fan ON notifications (audience, id) WHERE state = 'released' AND fanned_at = 0;

CREATE TABLE deliveries (
  id              INTEGER PRIMARY KEY,
  notification_id BIGINT  NOT NULL,
  device_id       TEXT    NOT NULL,
  user_id         TEXT    NOT NULL,             -- whose device it was when it was enqueued
  rule_id         TEXT    NOT NULL,
  provider        TEXT    NOT NULL,
  urgency         TEXT    NOT NULL,
  follow_up       BOOLEAN NOT NULL,
  state           TEXT    NOT NULL,
  reason          TEXT    NOT NULL DEFAULT '',
  attempts        BIGINT  NOT NULL DEFAULT 0,   -- that count against the backoff
  unknowns        BIGINT  NOT NULL DEFAULT 0,   -- attempts whose outcome is not known
  claims          BIGINT  NOT NULL DEFAULT 0,   -- with owner, the fence of a lease
  owner           TEXT    NOT NULL DEFAULT '',
  lease_until     BIGINT  NOT NULL DEFAULT 0,
  due_at          BIGINT  NOT NULL,
  expires_at      BIGINT  NOT NULL,
  created_at      BIGINT  NOT NULL,
  finished_at     BIGINT  NOT NULL DEFAULT 0,
  UNIQUE (notification_id, device_id)
);
CREATE INDEX deliveries_queue ON deliveries (provider, urgency, rule_id, due_at, id) WHERE state = 'queued';
CREATE INDEX deliveries_leased ON deliveries (lease_until) WHERE state = 'leased';
CREATE INDEX deliveries_expiry ON deliveries (expires_at) WHERE state = 'queued';
CREATE INDEX deliveries_device_queued ON deliveries (device_id) WHERE state = 'queued';

CREATE TABLE attempts (
  id          INTEGER PRIMARY KEY,
  delivery_id BIGINT  NOT NULL,
  generation  BIGINT  NOT NULL,                 -- of the target that was sent to
  owner       TEXT    NOT NULL,
  started_at  BIGINT  NOT NULL,
  ended_at    BIGINT  NOT NULL,
  verdict     TEXT    NOT NULL,
  code        TEXT    NOT NULL DEFAULT '',
  status      BIGINT  NOT NULL DEFAULT 0,
  provider_id TEXT    NOT NULL DEFAULT ''
);
CREATE INDEX attempts_delivery ON attempts (delivery_id);

CREATE TABLE bad_rows (
  rule_id    TEXT   NOT NULL,
  row_hash   TEXT   NOT NULL,
  reason     TEXT   NOT NULL,
  detail     TEXT   NOT NULL,
  source_row TEXT   NOT NULL,
  times_read BIGINT NOT NULL,
  first_seen BIGINT NOT NULL,
  last_seen  BIGINT NOT NULL,
  PRIMARY KEY (rule_id, row_hash)
);
