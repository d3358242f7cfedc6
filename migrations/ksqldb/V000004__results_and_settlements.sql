-- Results, and what they settle. Leave this file out (apply --until 3) where
-- another system settles the bets: it then writes the topic settlements itself,
-- with the columns of the stream in V000001.
--
-- Nothing in this file has been run on a server so far: it keeps to what
-- ksqlDB's documentation and sources say of releases from 0.25 on.

SET 'auto.offset.reset' = 'earliest';

-- In which currency stakes are; bets do not say.
DEFINE currency = 'EUR';

-- The result of each event, written by whoever calls the race. A second record
-- is a correction: every bet of the event is settled anew. withdrawn are runners
-- that did not start, void means that the event does not count at all.
CREATE TABLE IF NOT EXISTS results (
  event_id   STRING PRIMARY KEY,
  winner     STRING,
  withdrawn  ARRAY<STRING>,
  void       BOOLEAN,
  settled_at TIMESTAMP
) WITH (KAFKA_TOPIC = 'results', KEY_FORMAT = 'KAFKA', VALUE_FORMAT = 'JSON', PARTITIONS = 6);

-- The outcome of each accepted bet whose event has a result; a foreign-key join,
-- so a corrected result changes the outcome of its bets.
CREATE TABLE IF NOT EXISTS bet_outcomes
  WITH (KAFKA_TOPIC = 'bet_outcomes', KEY_FORMAT = 'KAFKA', VALUE_FORMAT = 'JSON', PARTITIONS = 6) AS
  SELECT b.bet_id     AS bet_id,
         b.user_id    AS user_id,
         b.event_id   AS event_id,
         b.event_name AS event_name,
         b.runner     AS runner,
         b.stake      AS stake,
         b.odds       AS odds,
         CASE
           WHEN COALESCE(r.void, false) = true THEN 'VOID'
           WHEN ARRAY_CONTAINS(r.withdrawn, b.runner) = true THEN 'VOID'
           WHEN b.runner = r.winner THEN 'WON'
           ELSE 'LOST'
         END AS outcome,
         r.settled_at AS settled_at
  FROM accepted_bets b
  JOIN results r ON b.event_id = r.event_id
  EMIT CHANGES;

-- The settlements, into the topic that the stream settlements (V000001) reads,
-- with lower-case names as the contract has them. PARTITIONS must be the same. A
-- stake comes back when a bet is void; stake x (1 + odds) is exact in DECIMAL.
CREATE TABLE IF NOT EXISTS settling
  WITH (KAFKA_TOPIC = 'settlements', KEY_FORMAT = 'KAFKA', VALUE_FORMAT = 'JSON', PARTITIONS = 6) AS
  SELECT bet_id,
         user_id    AS `user_id`,
         event_id   AS `event_id`,
         event_name AS `event_name`,
         runner     AS `runner`,
         stake      AS `stake`,
         odds       AS `odds`,
         CASE
           WHEN outcome = 'VOID' THEN stake
           WHEN outcome = 'WON' THEN CAST(stake * (CAST(1 AS DECIMAL(12, 4)) + CAST(odds AS DECIMAL(12, 4))) AS DECIMAL(18, 2))
           ELSE CAST(0 AS DECIMAL(18, 2))
         END        AS `payout`,
         '${currency}' AS `currency`,
         outcome    AS `outcome`,
         settled_at AS `settled_at`
  FROM bet_outcomes
  EMIT CHANGES;
