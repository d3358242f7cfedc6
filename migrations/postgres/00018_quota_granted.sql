-- +goose Up
-- How many sends have been granted in all. A replica of the release before does not count: what
-- it is granted is missing here, nothing else.
ALTER TABLE quotas ADD COLUMN granted BIGINT NOT NULL DEFAULT 0;
