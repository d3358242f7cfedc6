-- +goose Up
-- When a user wants to hear nothing: JSON ({"from":"22:00","to":"08:00","time_zone":""}); empty for never.
ALTER TABLE preferences ADD COLUMN quiet TEXT NOT NULL DEFAULT '';
