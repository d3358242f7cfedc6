-- The views that the built-in rules read. Names are upper case in ksqlDB; the
-- value fields of the topics are lower case, hence the back-quotes are not
-- needed: JSON fields are matched without regard to case.
--
-- No TIMESTAMP property: ROWTIME stays the time at which the record arrived in
-- Kafka, which is what the watermark of a rule goes by.

CREATE STREAM IF NOT EXISTS settlements (
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
  settled_at TIMESTAMP
) WITH (KAFKA_TOPIC = 'settlements', KEY_FORMAT = 'KAFKA', VALUE_FORMAT = 'JSON', PARTITIONS = 6);

-- Every poll scans this table, so it is windowed: what is older than the
-- retention leaves it. A correction in a later window is a second row of the
-- same bet; the rule keeps the newest by ROWTIME.
CREATE TABLE IF NOT EXISTS settled_bets WITH (KAFKA_TOPIC = 'settled_bets', KEY_FORMAT = 'KAFKA', VALUE_FORMAT = 'JSON', PARTITIONS = 6) AS
  SELECT bet_id,
         LATEST_BY_OFFSET(user_id)    AS user_id,
         LATEST_BY_OFFSET(event_id)   AS event_id,
         LATEST_BY_OFFSET(event_name) AS event_name,
         LATEST_BY_OFFSET(runner)     AS runner,
         LATEST_BY_OFFSET(stake)      AS stake,
         LATEST_BY_OFFSET(odds)       AS odds,
         LATEST_BY_OFFSET(payout)     AS payout,
         LATEST_BY_OFFSET(currency)   AS currency,
         LATEST_BY_OFFSET(outcome)    AS outcome,
         LATEST_BY_OFFSET(settled_at) AS settled_at
  FROM settlements
  WINDOW TUMBLING (SIZE 1 DAY, RETENTION 8 DAYS)
  GROUP BY bet_id
  EMIT CHANGES;

CREATE TABLE IF NOT EXISTS races (
  event_id  STRING PRIMARY KEY,
  name      STRING,
  course    STRING,
  starts_at TIMESTAMP,
  status    STRING
) WITH (KAFKA_TOPIC = 'races', KEY_FORMAT = 'KAFKA', VALUE_FORMAT = 'JSON', PARTITIONS = 6);

CREATE TABLE IF NOT EXISTS upcoming_races AS
  SELECT event_id, name, course, starts_at, status FROM races EMIT CHANGES;
