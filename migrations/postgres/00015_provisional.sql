-- +goose Up
-- When the hold of a provisional version ends or has ended, and when a row confirmed it; 0 for one
-- that never was provisional, and while none has.
ALTER TABLE notifications ADD COLUMN hold_until BIGINT NOT NULL DEFAULT 0;
ALTER TABLE notifications ADD COLUMN confirmed_at BIGINT NOT NULL DEFAULT 0;
-- What waits for its hold to end.
CREATE INDEX notifications_provisional ON notifications (hold_until, id) WHERE state = 'provisional';
