-- +goose Up
-- The audit by what somebody looks for, each in the order of the entries.
CREATE INDEX audit_subject ON audit (subject, id);
CREATE INDEX audit_actor   ON audit (actor, id);
CREATE INDEX audit_action  ON audit (action, id);
CREATE INDEX audit_at      ON audit (at, id);
