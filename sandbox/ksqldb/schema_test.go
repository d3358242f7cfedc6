package ksqldb_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/sandbox/ksqldb"
)

// ground is what the statements of these tests stand on.
const ground = `
CREATE STREAM bets (bet_id STRING KEY, event_id STRING, runner STRING, stake DECIMAL(18, 2), odds DOUBLE)
  WITH (KAFKA_TOPIC='bets', VALUE_FORMAT='JSON', PARTITIONS=6);
CREATE TABLE races (event_id STRING PRIMARY KEY, name STRING, starts_at TIMESTAMP)
  WITH (KAFKA_TOPIC='races', VALUE_FORMAT='JSON', PARTITIONS=6);
CREATE TABLE few (event_id STRING PRIMARY KEY, name STRING) WITH (KAFKA_TOPIC='few', VALUE_FORMAT='JSON', PARTITIONS=3);
CREATE TABLE latest AS SELECT bet_id, LATEST_BY_OFFSET(event_id) AS event_id, LATEST_BY_OFFSET(stake) AS stake FROM bets GROUP BY bet_id;
CREATE TABLE daily AS SELECT bet_id, COUNT(*) AS n FROM bets WINDOW TUMBLING (SIZE 1 DAY, RETENTION 8 DAYS) GROUP BY bet_id;
`

func TestDefineTypesWhatStatementsMake(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		sql  string
		want []ksqldb.Column
	}{
		"a stream-table join keeps the key of either side": {
			"CREATE STREAM x AS SELECT b.event_id AS e, b.bet_id AS bet_id, r.starts_at AS starts_at FROM bets b LEFT JOIN races r ON b.event_id = r.event_id EMIT CHANGES;",
			[]ksqldb.Column{{Name: "E", Type: "STRING", Key: true}, {Name: "BET_ID", Type: "STRING"}, {Name: "STARTS_AT", Type: "TIMESTAMP"}},
		},
		"a foreign-key join keeps the key of its left side": {
			"CREATE TABLE x AS SELECT l.bet_id AS bet_id, r.name AS name FROM latest l JOIN races r ON l.event_id = r.event_id EMIT CHANGES;",
			[]ksqldb.Column{{Name: "BET_ID", Type: "STRING", Key: true}, {Name: "NAME", Type: "STRING"}},
		},
		"a window is part of the key": {
			"CREATE TABLE x AS SELECT event_id, SUM(stake) AS total, MAX(odds) AS best FROM bets WINDOW TUMBLING (SIZE 1 HOUR) GROUP BY event_id EMIT CHANGES;",
			[]ksqldb.Column{
				{Name: "EVENT_ID", Type: "STRING", Key: true},
				{Name: "WINDOWSTART", Type: "BIGINT", Key: true},
				{Name: "WINDOWEND", Type: "BIGINT", Key: true},
				{Name: "TOTAL", Type: "DECIMAL(18, 2)"},
				{Name: "BEST", Type: "DOUBLE"},
			},
		},
		"two grouping columns make a key of two": {
			"CREATE TABLE x WITH (KEY_FORMAT='JSON') AS SELECT event_id, runner, COUNT(*) AS n FROM bets GROUP BY event_id, runner;",
			[]ksqldb.Column{{Name: "EVENT_ID", Type: "STRING", Key: true}, {Name: "RUNNER", Type: "STRING", Key: true}, {Name: "N", Type: "BIGINT"}},
		},
		"expressions": {
			"CREATE STREAM x AS SELECT event_id + '|' + runner AS k, CASE WHEN odds IS NULL OR NOT (stake > 0) THEN 'bad' ELSE 'good' END AS `verdict`, " +
				"CAST(stake * (CAST(1 AS DECIMAL(12, 4)) + CAST(odds AS DECIMAL(12, 4))) AS DECIMAL(18, 2)) AS payout, " +
				"STRUCT(`a` := runner, `b` := ROUND(odds / 2, 1)) AS s, ROWTIME AS arrived FROM bets PARTITION BY event_id + '|' + runner;",
			[]ksqldb.Column{
				{Name: "K", Type: "STRING", Key: true},
				{Name: "verdict", Type: "STRING"},
				{Name: "PAYOUT", Type: "DECIMAL(18, 2)"},
				{Name: "S", Type: "STRUCT<`a` STRING, `b` DOUBLE>"},
				{Name: "ARRIVED", Type: "BIGINT"},
			},
		},
		"a list of a table's values, made into structs": {
			"CREATE TABLE l AS SELECT event_id, COLLECT_LIST(bet_id) AS ids FROM latest GROUP BY event_id; " +
				"CREATE TABLE x WITH (WRAP_SINGLE_VALUE=false) AS SELECT event_id, TRANSFORM(ids, id => STRUCT(`id` := id)) AS ids FROM l;",
			[]ksqldb.Column{{Name: "EVENT_ID", Type: "STRING", Key: true}, {Name: "IDS", Type: "ARRAY<STRUCT<`id` STRING>>"}},
		},
		"a topic that a table has made": {
			"CREATE STREAM x (bet_id STRING KEY, stake DOUBLE) WITH (KAFKA_TOPIC='LATEST', VALUE_FORMAT='JSON');",
			[]ksqldb.Column{{Name: "BET_ID", Type: "STRING", Key: true}, {Name: "STAKE", Type: "DOUBLE"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := ksqldb.Define(ground + c.sql)
			require.NoError(t, err)
			require.Equal(t, c.want, got["X"].Columns)
			require.Equal(t, 6, got["X"].Partitions)
		})
	}
}

func TestDefineRefusesWhatAServerRefuses(t *testing.T) {
	t.Parallel()
	const with = " WITH (KAFKA_TOPIC='new', VALUE_FORMAT='JSON', PARTITIONS=1);"
	for sql, want := range map[string]string{
		// sources
		"CREATE STREAM x (a STRING KEY, b INT) WITH (KAFKA_TOPIC='new', VALUE_FORMAT='JSON');":                                               "PARTITIONS",
		"CREATE STREAM x (a STRING KEY, b INT) WITH (KAFKA_TOPIC='bets', VALUE_FORMAT='JSON', PARTITIONS=3);":                                "already exists, with different partition",
		"CREATE STREAM x (a STRING KEY, b INT) WITH (VALUE_FORMAT='JSON', PARTITIONS=1);":                                                    "KAFKA_TOPIC",
		"CREATE STREAM x (a STRING KEY, b INT) WITH (KAFKA_TOPIC='new', PARTITIONS=1);":                                                      "VALUE_FORMAT",
		"CREATE STREAM x (a STRING KEY, b INT) WITH (KAFKA_TOPIC='new', VALUE_FORMAT='JSON', PARTITIONS='1');":                               "PARTITIONS",
		"CREATE STREAM x (a STRING KEY, b INT) WITH (KAFKA_TOPIC='new', VALUE_FORMAT='JSON', PARTITION=1);":                                  "Invalid config variable",
		"CREATE STREAM x (a STRING KEY, b STRING KEY, c INT)" + with:                                                                         "Key format does not support schema",
		"CREATE STREAM x (a ARRAY<STRING> KEY, c INT)" + with:                                                                                "Key format does not support schema",
		"CREATE STREAM x (a STRING PRIMARY KEY, b INT)" + with:                                                                               "please use 'KEY' for streams",
		"CREATE TABLE x (a STRING KEY, b INT)" + with:                                                                                        "please use 'PRIMARY KEY' for tables",
		"CREATE TABLE x (a STRING, b INT)" + with:                                                                                            "Tables require a PRIMARY KEY",
		"CREATE STREAM x (a STRING KEY, rowtime BIGINT)" + with:                                                                              "reserved column name",
		"CREATE STREAM x (a STRING KEY, a BIGINT)" + with:                                                                                    "Duplicate column names",
		"CREATE STREAM x (a STRING KEY, b INT, c INT) WITH (KAFKA_TOPIC='new', VALUE_FORMAT='JSON', WRAP_SINGLE_VALUE=false, PARTITIONS=1);": "single-field",
		"CREATE STREAM x (a STRING KEY, b STRING) WITH (KAFKA_TOPIC='new', VALUE_FORMAT='JSON', TIMESTAMP='b', PARTITIONS=1);":               "Timestamp column",
		"CREATE STREAM bets (a STRING KEY, b INT)" + with:                                                                                    "already exists",
		"CREATE TABLE latest AS SELECT * FROM races;":                                                                                        "already exists",
		"CREATE STREAM x (a STRING KEY, b FISH)" + with:                                                                                      "unknown type",
		"DROP STREAM bets;":                                   "read from this source",
		"DROP TABLE bets;":                                    "Incompatible",
		"DROP TABLE nothing;":                                 "does not exist",
		"INSERT INTO nothing (a) VALUES ('b');":               "unknown",
		"INSERT INTO bets (bet_id, fish) VALUES ('b', 'c');":  "does not exist",
		"INSERT INTO bets (bet_id, stake) VALUES ('b', 'c');": "Expected type",
		"INSERT INTO bets (bet_id, stake) VALUES ('b');":      "Expected a value for each column",
		"INSERT INTO races (name) VALUES ('b');":              "primary key",
		"INSERT INTO daily (bet_id) VALUES ('b');":            "windowed",
		// queries
		"CREATE STREAM x AS SELECT * FROM nothing EMIT CHANGES;":                                                                                 "does not exist",
		"CREATE STREAM x AS SELECT bet_id, fish FROM bets EMIT CHANGES;":                                                                         "cannot be resolved",
		"CREATE STREAM x AS SELECT event_id, stake FROM bets EMIT CHANGES;":                                                                      "Key missing from projection",
		"CREATE STREAM x AS SELECT bet_id FROM bets EMIT CHANGES;":                                                                               "no value columns",
		"CREATE TABLE x AS SELECT * FROM bets EMIT CHANGES;":                                                                                     "produces a STREAM",
		"CREATE STREAM x AS SELECT * FROM races EMIT CHANGES;":                                                                                   "produces a TABLE",
		"CREATE TABLE x AS SELECT * FROM daily EMIT CHANGES;":                                                                                    "windowed tables",
		"CREATE TABLE x AS SELECT * FROM races LIMIT 3;":                                                                                         "LIMIT",
		"CREATE TABLE x AS SELECT COUNT(*) AS n FROM bets GROUP BY event_id EMIT CHANGES;":                                                       "Key missing from projection",
		"CREATE TABLE x AS SELECT event_id, runner, COUNT(*) AS n FROM bets GROUP BY event_id EMIT CHANGES;":                                     "not part of GROUP BY",
		"CREATE TABLE x AS SELECT event_id, runner, COUNT(*) AS n FROM bets GROUP BY event_id, runner EMIT CHANGES;":                             "Key format does not support schema",
		"CREATE TABLE x AS SELECT event_id + '-' + runner AS k, COUNT(*) AS n FROM bets GROUP BY event_id + '|' + runner EMIT CHANGES;":          "not part of GROUP BY",
		"CREATE TABLE x AS SELECT event_id, LATEST_BY_OFFSET(stake) AS s FROM latest GROUP BY event_id EMIT CHANGES;":                            "cannot be applied to a table source",
		"CREATE TABLE x AS SELECT event_id, MAX(stake) AS s FROM latest GROUP BY event_id EMIT CHANGES;":                                         "cannot be applied to a table source",
		"CREATE TABLE x AS SELECT event_id, COUNT(*) AS n FROM latest WINDOW TUMBLING (SIZE 1 DAY) GROUP BY event_id EMIT CHANGES;":              "only supported for stream",
		"CREATE TABLE x AS SELECT event_id, COLLECT_LIST(STRUCT(a := stake)) AS s FROM latest GROUP BY event_id EMIT CHANGES;":                   "does not accept",
		"CREATE TABLE x AS SELECT event_id, SUM(COUNT(stake)) AS s FROM bets GROUP BY event_id EMIT CHANGES;":                                    "nested",
		"CREATE TABLE x AS SELECT event_id, SUM(runner) AS s FROM bets GROUP BY event_id EMIT CHANGES;":                                          "does not accept",
		"CREATE STREAM x AS SELECT bet_id, SUM(stake) AS s FROM bets EMIT CHANGES;":                                                              "requires a GROUP BY",
		"CREATE STREAM x AS SELECT bet_id, stake AS a, odds AS a FROM bets EMIT CHANGES;":                                                        "Duplicate column names",
		"CREATE STREAM x AS SELECT bet_id, stake FROM bets PARTITION BY runner EMIT CHANGES;":                                                    "Key missing from projection",
		"CREATE TABLE x AS SELECT event_id, name FROM races PARTITION BY name EMIT CHANGES;":                                                     "not supported for TABLE",
		"CREATE STREAM x AS SELECT bet_id, stake FROM bets WHERE stake EMIT CHANGES;":                                                            "should evaluate to boolean",
		"CREATE STREAM x AS SELECT bet_id, stake FROM bets WHERE stake > 'a' EMIT CHANGES;":                                                      "cannot be used to compare",
		"CREATE STREAM x AS SELECT bet_id, CASE WHEN odds > 1 THEN 'a' ELSE 1 END AS c FROM bets EMIT CHANGES;":                                  "should be the same",
		"CREATE STREAM x AS SELECT b.bet_id AS bet_id, r.name AS name FROM bets b JOIN races r ON b.event_id = r.name EMIT CHANGES;":             "primary key",
		"CREATE STREAM x AS SELECT b.bet_id AS bet_id, r.name AS name FROM bets b JOIN races r ON b.event_id = r.event_id EMIT CHANGES;":         "Key missing from projection",
		"CREATE STREAM x AS SELECT b.event_id AS e, r.name AS name FROM bets b FULL OUTER JOIN races r ON b.event_id = r.event_id EMIT CHANGES;": "full not supported",
		"CREATE STREAM x AS SELECT b.stake AS e, r.name AS name FROM bets b JOIN races r ON b.stake = r.event_id EMIT CHANGES;":                  "types don't match",
		"CREATE STREAM x AS SELECT event_id, r.name AS name FROM bets b JOIN races r ON b.event_id = r.event_id EMIT CHANGES;":                   "ambiguous",
		"CREATE TABLE x AS SELECT r.event_id AS e, b.stake AS s FROM races r JOIN bets b ON r.event_id = b.event_id EMIT CHANGES;":               "table-stream joins",
		"CREATE STREAM x AS SELECT a.bet_id AS e, b.stake AS s FROM bets a JOIN bets b ON a.bet_id = b.bet_id EMIT CHANGES;":                     "WITHIN",
		"CREATE TABLE x AS SELECT r.event_id AS e, f.name AS n FROM races r JOIN few f ON r.event_id = f.event_id EMIT CHANGES;":                 "number of partitions",
		"CREATE TABLE x AS SELECT l.bet_id AS b, r.name AS n FROM latest l FULL JOIN races r ON l.event_id = r.event_id EMIT CHANGES;":           "foreign-key",
		"CREATE TABLE x AS SELECT l.event_id AS e, r.name AS n FROM latest l JOIN races r ON l.event_id = r.event_id EMIT CHANGES;":              "Key missing from projection",
		"CREATE TABLE x WITH (KAFKA_TOPIC='races', PARTITIONS=3) AS SELECT bet_id, stake FROM latest EMIT CHANGES;":                              "different partition",
		"CREATE TABLE x WITH (WRAP_SINGLE_VALUE=false) AS SELECT bet_id, event_id, stake FROM latest EMIT CHANGES;":                              "single-field",
		"CREATE STREAM x AS SELECT bet_id, ${stake} AS s FROM bets EMIT CHANGES;":                                                                "not defined",
		"SELECT * FROM latest;": "defines nothing",
		"CREATE STREAM x AS SELECT bet_id, stake FROM bets EMIT CHANGES": "Syntax Error",
	} {
		_, err := ksqldb.Define(ground + sql)
		require.Error(t, err, sql)
		require.Contains(t, strings.ToLower(err.Error()), strings.ToLower(want), sql)
	}
	_, err := ksqldb.Define(ground)
	require.NoError(t, err)
}
