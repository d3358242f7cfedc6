-- +goose Up
-- What Ably's webhooks have brought: a row for each message is dedupe and outbox at once. It is
-- produced to Kafka in the order of seq, and kept for a day after its arrival.
CREATE TABLE bets (
  seq         INTEGER PRIMARY KEY AUTOINCREMENT,  -- grows with arrival
  message_id  TEXT    NOT NULL,                   -- Ably's, and the bet's id
  channel     TEXT    NOT NULL,
  kind        TEXT    NOT NULL,                   -- bet | dead (a dead letter)
  reason      TEXT    NOT NULL DEFAULT '',        -- why a dead letter is no bet
  value       TEXT    NOT NULL,                   -- of the record, in base64; empty once it was produced
  size        BIGINT  NOT NULL,                   -- of the message's data
  state       TEXT    NOT NULL DEFAULT 'queued',  -- queued | leased | produced
  owner       TEXT    NOT NULL DEFAULT '',
  claims      BIGINT  NOT NULL DEFAULT 0,         -- fences what a replica notes
  lease_until BIGINT  NOT NULL DEFAULT 0,
  received_at BIGINT  NOT NULL,
  produced_at BIGINT  NOT NULL DEFAULT 0,
  UNIQUE (message_id, channel)
);
CREATE INDEX bets_queued ON bets (kind, seq) WHERE state = 'queued';
CREATE INDEX bets_leased ON bets (kind, channel) WHERE state = 'leased';
CREATE INDEX bets_produced ON bets (received_at, seq) WHERE state = 'produced';

-- Who is in the app, and where. One who has left is kept until the row expires, so that an older
-- word of them changes nothing.
CREATE TABLE presence (
  client_id     TEXT    NOT NULL,
  channel       TEXT    NOT NULL,
  connection_id TEXT    NOT NULL,
  page          TEXT    NOT NULL,
  here          BOOLEAN NOT NULL,
  since         BIGINT  NOT NULL,
  seen_at       BIGINT  NOT NULL,  -- by Ably's clock
  serial        BIGINT  NOT NULL,  -- orders the messages of one moment
  expires_at    BIGINT  NOT NULL,
  PRIMARY KEY (client_id, channel, connection_id)
);
CREATE INDEX presence_expires ON presence (expires_at);
