-- +goose Up
-- What users have read of their inboxes. An item is unread as long as it has no row.
CREATE TABLE inbox_reads (
  user_id         TEXT COLLATE "C" NOT NULL,
  notification_id BIGINT           NOT NULL,
  read_at         BIGINT           NOT NULL,
  PRIMARY KEY (user_id, notification_id)
);

-- What a user has been told, or may have been, newest first. It holds nothing that is only
-- queued, so that the fan-out does not pay for it.
CREATE INDEX deliveries_told ON deliveries (user_id, notification_id) WHERE state IN ('sent', 'unconfirmed') OR unknowns > 0;
