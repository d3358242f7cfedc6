-- The order book, the pool and the odds that they make.
--
-- Odds are the profit per unit staked: the payout is stake x (1 + odds).
--
-- Nothing in this file has been run on a server so far: it keeps to what
-- ksqlDB's documentation and sources say of releases from 0.25 on.

SET 'auto.offset.reset' = 'earliest';

-- The part of the pool that is paid out; the rest is the house's.
DEFINE payout_share = '0.95';

-- Who runs, written by whoever enters the races. The key is "event|runner". The
-- seed is a stake of the house's on each runner, so that there are odds before
-- the first bet; the seeds of an event say its opening odds. A runner that is
-- deleted (a NULL value) leaves the book and the next snapshot.
CREATE TABLE IF NOT EXISTS runners (
  book_key  STRING PRIMARY KEY,
  event_id  STRING,
  runner    STRING,
  image_url STRING,
  seed      DECIMAL(18, 2)
) WITH (KAFKA_TOPIC = 'runners', KEY_FORMAT = 'KAFKA', VALUE_FORMAT = 'JSON', PARTITIONS = 6);

-- What is staked on each runner. COUNT and SUM can be undone, which is what an
-- aggregate over a table needs.
CREATE TABLE IF NOT EXISTS runner_stakes
  WITH (KAFKA_TOPIC = 'runner_stakes', KEY_FORMAT = 'KAFKA', VALUE_FORMAT = 'JSON', PARTITIONS = 6) AS
  SELECT book_key,
         COUNT(*)   AS bet_count,
         SUM(stake) AS staked
  FROM accepted_bets
  GROUP BY book_key
  EMIT CHANGES;

-- The order book: every runner of every event, those without bets too. A join of
-- two tables by their primary keys wants one key column and equal partitions.
CREATE TABLE IF NOT EXISTS order_book
  WITH (KAFKA_TOPIC = 'order_book', KEY_FORMAT = 'KAFKA', VALUE_FORMAT = 'JSON', PARTITIONS = 6) AS
  SELECT r.book_key  AS book_key,
         r.event_id  AS event_id,
         r.runner    AS runner,
         r.image_url AS image_url,
         r.seed      AS seed,
         COALESCE(s.bet_count, CAST(0 AS BIGINT))      AS bet_count,
         COALESCE(s.staked, CAST(0 AS DECIMAL(18, 2))) AS staked
  FROM runners r
  LEFT JOIN runner_stakes s ON r.book_key = s.book_key
  EMIT CHANGES;

-- The pool of each event: all stakes, the house's with them.
CREATE TABLE IF NOT EXISTS event_pool
  WITH (KAFKA_TOPIC = 'event_pool', KEY_FORMAT = 'KAFKA', VALUE_FORMAT = 'JSON', PARTITIONS = 6) AS
  SELECT event_id,
         SUM(seed) + SUM(staked) AS pool,
         SUM(staked)             AS staked,
         SUM(bet_count)          AS bet_count
  FROM order_book
  GROUP BY event_id
  EMIT CHANGES;

-- Odds of each runner: what the pool pays per unit staked on it, less that unit.
-- A foreign-key join: the result has the key of its left side. The book changes
-- before the pool, so there are odds in between that last for a moment.
-- odds_in_force (V000002) reads this topic, so PARTITIONS must be the same.
CREATE TABLE IF NOT EXISTS runner_odds
  WITH (KAFKA_TOPIC = 'runner_odds', KEY_FORMAT = 'KAFKA', VALUE_FORMAT = 'JSON', PARTITIONS = 6) AS
  SELECT b.book_key  AS book_key,
         b.event_id  AS event_id,
         b.runner    AS runner,
         b.image_url AS image_url,
         GREATEST(ROUND(${payout_share} * CAST(p.pool AS DOUBLE) / CAST(b.seed + b.staked AS DOUBLE) - 1, 3), 1.0E-2) AS odds
  FROM order_book b
  JOIN event_pool p ON b.event_id = p.event_id
  WHERE b.seed + b.staked > 0
  EMIT CHANGES;

-- The tiles of each event as a list. COLLECT_LIST can be undone, but takes simple
-- types only, so a tile is a text here: JSON, which no name can break. A tile
-- that changes goes to the end of the list, hence the sort, which is by name.
-- Before Kafka Streams 3.5 (Confluent Platform 7.5) a list without the tile that
-- is about to change may show for a moment (KIP-904). Not tried: the sort of an
-- aggregate.
CREATE TABLE IF NOT EXISTS odds_tiles
  WITH (KAFKA_TOPIC = 'odds_tiles', KEY_FORMAT = 'KAFKA', VALUE_FORMAT = 'JSON', PARTITIONS = 6) AS
  SELECT event_id,
         ARRAY_SORT(COLLECT_LIST(TO_JSON_STRING(STRUCT(`name` := runner, `imageURL` := image_url, `odds` := odds)))) AS tiles
  FROM runner_odds
  GROUP BY event_id
  EMIT CHANGES;

-- The snapshot that the relay publishes: the key is the event id as plain text,
-- the value the array itself, [{"name":"Car 1","imageURL":null,"odds":0.125}, ...].
-- A table with one value column writes it unwrapped when WRAP_SINGLE_VALUE is
-- false, and back-quoted names keep their case. EXTRACTJSONFIELD may make a text
-- of a JSON null, hence NULLIF. Not tried: a lambda that returns a STRUCT.
CREATE TABLE IF NOT EXISTS odds
  WITH (KAFKA_TOPIC = 'odds', KEY_FORMAT = 'KAFKA', VALUE_FORMAT = 'JSON', WRAP_SINGLE_VALUE = false, PARTITIONS = 6) AS
  SELECT event_id,
         TRANSFORM(tiles, tile => STRUCT(
           `name`     := EXTRACTJSONFIELD(tile, '$.name'),
           `imageURL` := NULLIF(EXTRACTJSONFIELD(tile, '$.imageURL'), 'null'),
           `odds`     := CAST(EXTRACTJSONFIELD(tile, '$.odds') AS DOUBLE))) AS tiles
  FROM odds_tiles
  EMIT CHANGES;
