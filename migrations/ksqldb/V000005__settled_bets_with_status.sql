-- Settled bets with a status, for a rule that holds provisional results. Leave
-- this file out (apply --until 4) where no result is ever provisional: it is one
-- more table to keep. The rule bet-settled does not read it.
--
-- Nothing in this file has been run on a server so far: it keeps to what
-- ksqlDB's documentation and sources say of releases from 0.25 on.

SET 'auto.offset.reset' = 'earliest';

-- The topic settlements once more, with one column more: a select list of an
-- aggregate cannot be changed, a topic can be shared. Who writes no status
-- settles finally.
CREATE STREAM IF NOT EXISTS settlements_with_status (
  bet_id     STRING KEY,
  user_id    STRING,
  event_id   STRING,
  event_name STRING,
  runner     STRING,
  stake      DECIMAL(18, 2),
  odds       DOUBLE,
  payout     DECIMAL(18, 2),
  currency   STRING,
  outcome    STRING,
  settled_at TIMESTAMP,
  status     STRING
) WITH (KAFKA_TOPIC = 'settlements', KEY_FORMAT = 'KAFKA', VALUE_FORMAT = 'JSON');

-- Windowed as settled_bets (V000001) is. `false` keeps a NULL: a settlement
-- without a status is final, whatever the one before said.
CREATE TABLE IF NOT EXISTS settled_bets_with_status
  WITH (KAFKA_TOPIC = 'settled_bets_with_status', KEY_FORMAT = 'KAFKA', VALUE_FORMAT = 'JSON', PARTITIONS = 6) AS
  SELECT bet_id,
         LATEST_BY_OFFSET(user_id)       AS user_id,
         LATEST_BY_OFFSET(event_id)      AS event_id,
         LATEST_BY_OFFSET(event_name)    AS event_name,
         LATEST_BY_OFFSET(runner)        AS runner,
         LATEST_BY_OFFSET(stake)         AS stake,
         LATEST_BY_OFFSET(odds)          AS odds,
         LATEST_BY_OFFSET(payout)        AS payout,
         LATEST_BY_OFFSET(currency)      AS currency,
         LATEST_BY_OFFSET(outcome)       AS outcome,
         LATEST_BY_OFFSET(settled_at)    AS settled_at,
         LATEST_BY_OFFSET(status, false) AS status
  FROM settlements_with_status
  WINDOW TUMBLING (SIZE 1 DAY, RETENTION 8 DAYS)
  GROUP BY bet_id
  EMIT CHANGES;
