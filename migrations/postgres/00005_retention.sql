-- +goose Up
-- What is needed to remove what has ended, in steps along an index.

-- When a row of the latest version's key was last read, give or take an hour; 0 where nobody
-- has noted it yet, as a binary from before this column does not.
ALTER TABLE notifications ADD COLUMN seen_at BIGINT NOT NULL DEFAULT 0;

-- The keys that a rule may forget, longest unseen first.
CREATE INDEX notifications_seen ON notifications (rule_id, seen_at, id) WHERE latest;
-- Versions that have been replaced, oldest first.
CREATE INDEX notifications_replaced ON notifications (created_at, id) WHERE NOT latest;
-- An item that is removed takes with it who has read it.
CREATE INDEX inbox_reads_notification ON inbox_reads (notification_id);

-- These are written at the pace of the pushes and replaced as a whole within the retention. The
-- defaults wait until a fifth of a table is dead, and then clean up slower than it grows.
ALTER TABLE deliveries    SET (autovacuum_vacuum_scale_factor = 0.01, autovacuum_analyze_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 1, autovacuum_vacuum_cost_limit = 2000);
ALTER TABLE attempts      SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 1, autovacuum_vacuum_cost_limit = 2000);
ALTER TABLE notifications SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 1, autovacuum_vacuum_cost_limit = 2000);
