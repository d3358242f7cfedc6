-- +goose Up
-- What the replicas share about a provider's quota, one row for each provider. The rate is
-- share × the configured one; everything up to next_at has been granted to somebody.
CREATE TABLE quotas (
  provider     TEXT COLLATE "C" PRIMARY KEY,
  share        DOUBLE PRECISION NOT NULL DEFAULT 0,
  moved_at     BIGINT           NOT NULL DEFAULT 0,   -- when share last rose or fell
  next_at      BIGINT           NOT NULL DEFAULT 0,
  granted_at   BIGINT           NOT NULL DEFAULT 0,
  slowed_at    BIGINT           NOT NULL DEFAULT 0,   -- when the rate was last halved
  paused_until BIGINT           NOT NULL DEFAULT 0,   -- the provider has asked us to wait
  changed_at   BIGINT           NOT NULL DEFAULT 0
);
