-- Bets, each decided once: accepted, or rejected and why.
--
-- Bugle writes the topic bets; topic and columns are a contract (docs/ksqldb.md).
-- ROWTIME is the time at which a bet arrived in Kafka, so there is no TIMESTAMP
-- property. Apply this before bets are enabled: what is in the topic already is
-- decided by the odds and the races of that moment.
--
-- Nothing in this file has been run on a server so far: it keeps to what
-- ksqlDB's documentation and sources say of releases from 0.25 on.

-- Every query below must see all that came before it was created, or a bet would
-- be lost between two of them. The default is latest.
SET 'auto.offset.reset' = 'earliest';

-- How far the odds of a bet may be from those in force when it arrives, as a part
-- of the payout per unit (1 + odds). `bugle migrate ksqldb apply --define
-- odds_tolerance=0.1` sets another one; with ksql-migrations, change this line.
DEFINE odds_tolerance = '0.05';

-- Partitions of the topic bets. It is created when it is missing; where it exists
-- with another number, that one has to stand here.
DEFINE bets_partitions = '6';

-- As Bugle writes them. placed_at is epoch milliseconds on the wire.
CREATE STREAM IF NOT EXISTS bets (
  bet_id        STRING KEY,
  event_id      STRING,
  runner        STRING,
  user_id       STRING,
  authenticated BOOLEAN,
  stake         DECIMAL(18, 2),
  odds          DOUBLE,
  placed_at     TIMESTAMP
) WITH (KAFKA_TOPIC = 'bets', KEY_FORMAT = 'KAFKA', VALUE_FORMAT = 'JSON', PARTITIONS = ${bets_partitions});

-- The odds in force, read back from the topic that runner_odds (V000003) writes.
-- A table of its own, because accepted bets make the odds and the odds accept
-- bets: a query cannot name what is created after it, a topic can be shared.
-- Both must say the same PARTITIONS. Not tried: that a table's topic has a reader
-- before it has its writer.
CREATE TABLE IF NOT EXISTS odds_in_force (
  book_key STRING PRIMARY KEY,
  odds     DOUBLE
) WITH (KAFKA_TOPIC = 'runner_odds', KEY_FORMAT = 'KAFKA', VALUE_FORMAT = 'JSON', PARTITIONS = 6);

-- Joins want the key of the table, which is "event|runner". An event id must not
-- contain "|". A bet without event or runner has no key and goes no further.
-- arrived is when the record came into Kafka.
CREATE STREAM IF NOT EXISTS bets_by_runner
  WITH (KAFKA_TOPIC = 'bets_by_runner', KEY_FORMAT = 'KAFKA', VALUE_FORMAT = 'JSON', PARTITIONS = 6) AS
  SELECT event_id + '|' + runner AS book_key,
         bet_id, event_id, runner, user_id, authenticated, stake, odds, placed_at,
         ROWTIME AS arrived
  FROM bets
  PARTITION BY event_id + '|' + runner
  EMIT CHANGES;

-- Beside each bet the odds in force when it is processed: a stream-table join
-- looks up once and does not change its mind when the odds move later.
CREATE STREAM IF NOT EXISTS bets_priced
  WITH (KAFKA_TOPIC = 'bets_priced', KEY_FORMAT = 'KAFKA', VALUE_FORMAT = 'JSON', PARTITIONS = 6) AS
  SELECT b.book_key      AS book_key,
         b.bet_id        AS bet_id,
         b.event_id      AS event_id,
         b.runner        AS runner,
         b.user_id       AS user_id,
         b.authenticated AS authenticated,
         b.stake         AS stake,
         b.odds          AS odds,
         b.placed_at     AS placed_at,
         b.arrived       AS arrived,
         o.odds          AS odds_now
  FROM bets_by_runner b
  LEFT JOIN odds_in_force o ON b.book_key = o.book_key
  EMIT CHANGES;

-- The decision, and the name of the event. What counts is when the bet arrived:
-- one that was placed in time and arrived late comes too late.
--   NOT_OFFERED   no such event or runner, not open for bets, or nothing to bet
--   RACE_STARTED  the race has started
--   ODDS_MOVED    the odds have moved beyond the tolerance
CREATE STREAM IF NOT EXISTS bets_decided
  WITH (KAFKA_TOPIC = 'bets_decided', KEY_FORMAT = 'KAFKA', VALUE_FORMAT = 'JSON', PARTITIONS = 6) AS
  SELECT p.event_id      AS event_id,
         p.bet_id        AS bet_id,
         r.name          AS event_name,
         p.runner        AS runner,
         p.user_id       AS user_id,
         p.authenticated AS authenticated,
         p.stake         AS stake,
         p.odds          AS odds,
         p.odds_now      AS odds_now,
         p.placed_at     AS placed_at,
         CASE
           WHEN r.status IS NULL OR r.starts_at IS NULL OR p.odds_now IS NULL OR p.odds IS NULL OR p.stake IS NULL THEN 'NOT_OFFERED'
           WHEN p.stake <= 0 OR p.odds < 0 THEN 'NOT_OFFERED'
           WHEN r.status = 'OFF' THEN 'RACE_STARTED'
           WHEN r.status <> 'SCHEDULED' THEN 'NOT_OFFERED'
           WHEN UNIX_TIMESTAMP(r.starts_at) <= p.arrived THEN 'RACE_STARTED'
           WHEN ABS(p.odds - p.odds_now) > ${odds_tolerance} * (p.odds_now + 1) THEN 'ODDS_MOVED'
           ELSE 'ACCEPTED'
         END AS decision
  FROM bets_priced p
  LEFT JOIN races r ON p.event_id = r.event_id
  EMIT CHANGES;

-- Each bet once, as it was decided first. Bugle may repeat a record after a
-- crash: the repeat is decided again, perhaps otherwise, and changes nothing
-- here; for what is computed from this table its old and its new row are the
-- same, so it nets to zero. `false` keeps a NULL of the first record.
CREATE TABLE IF NOT EXISTS bets_unique
  WITH (KAFKA_TOPIC = 'bets_unique', KEY_FORMAT = 'KAFKA', VALUE_FORMAT = 'JSON', PARTITIONS = 6) AS
  SELECT bet_id,
         EARLIEST_BY_OFFSET(event_id, false)      AS event_id,
         EARLIEST_BY_OFFSET(event_name, false)    AS event_name,
         EARLIEST_BY_OFFSET(runner, false)        AS runner,
         EARLIEST_BY_OFFSET(user_id, false)       AS user_id,
         EARLIEST_BY_OFFSET(authenticated, false) AS authenticated,
         EARLIEST_BY_OFFSET(stake, false)         AS stake,
         EARLIEST_BY_OFFSET(odds, false)          AS odds,
         EARLIEST_BY_OFFSET(odds_now, false)      AS odds_now,
         EARLIEST_BY_OFFSET(placed_at, false)     AS placed_at,
         EARLIEST_BY_OFFSET(decision, false)      AS decision
  FROM bets_decided
  GROUP BY bet_id
  EMIT CHANGES;

-- The bets that count: what the order book adds up and what is settled.
CREATE TABLE IF NOT EXISTS accepted_bets
  WITH (KAFKA_TOPIC = 'accepted_bets', KEY_FORMAT = 'KAFKA', VALUE_FORMAT = 'JSON', PARTITIONS = 6) AS
  SELECT bet_id,
         event_id + '|' + runner AS book_key,
         event_id, event_name, runner, user_id, authenticated, stake, odds, placed_at
  FROM bets_unique
  WHERE decision = 'ACCEPTED'
  EMIT CHANGES;

-- The first decisions as a stream, to make a windowed table of them.
CREATE STREAM IF NOT EXISTS first_decisions (
  bet_id        STRING KEY,
  event_id      STRING,
  event_name    STRING,
  runner        STRING,
  user_id       STRING,
  authenticated BOOLEAN,
  stake         DECIMAL(18, 2),
  odds          DOUBLE,
  odds_now      DOUBLE,
  placed_at     TIMESTAMP,
  decision      STRING
) WITH (KAFKA_TOPIC = 'bets_unique', KEY_FORMAT = 'KAFKA', VALUE_FORMAT = 'JSON');

-- What the rule bet-rejected reads. Every poll scans it, so it is windowed, like
-- settled_bets. event_name and odds_now are NULL where there is no such event or
-- runner.
CREATE TABLE IF NOT EXISTS rejected_bets
  WITH (KAFKA_TOPIC = 'rejected_bets', KEY_FORMAT = 'KAFKA', VALUE_FORMAT = 'JSON', PARTITIONS = 6) AS
  SELECT bet_id,
         LATEST_BY_OFFSET(user_id)    AS user_id,
         LATEST_BY_OFFSET(event_id)   AS event_id,
         LATEST_BY_OFFSET(event_name) AS event_name,
         LATEST_BY_OFFSET(runner)     AS runner,
         LATEST_BY_OFFSET(stake)      AS stake,
         LATEST_BY_OFFSET(odds)       AS odds,
         LATEST_BY_OFFSET(odds_now)   AS odds_now,
         LATEST_BY_OFFSET(decision)   AS reason,
         LATEST_BY_OFFSET(placed_at)  AS placed_at
  FROM first_decisions
  WINDOW TUMBLING (SIZE 1 DAY, RETENTION 8 DAYS)
  WHERE decision <> 'ACCEPTED'
  GROUP BY bet_id
  EMIT CHANGES;
