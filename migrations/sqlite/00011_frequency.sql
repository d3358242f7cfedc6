-- +goose Up
-- What caps of frequency have decided, once for each user and notification: all devices of the
-- user share it. What was admitted counts.
CREATE TABLE frequency (
  user_id         TEXT   NOT NULL,
  notification_id BIGINT NOT NULL,
  category        TEXT   NOT NULL,
  class           TEXT   NOT NULL,
  verdict         TEXT   NOT NULL,              -- admitted | dropped | expired
  at              BIGINT NOT NULL,
  PRIMARY KEY (user_id, notification_id)
);
CREATE INDEX frequency_at ON frequency (at);
