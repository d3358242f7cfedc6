-- +goose Up
-- The notifications of a run in the order of their ids: notifications_run has it here, where an
-- index ends with the id.
-- Who is on a channel or a page, in the order of the list.
CREATE INDEX presence_channel ON presence (channel, client_id, connection_id);
CREATE INDEX presence_page    ON presence (page, client_id, channel, connection_id);
