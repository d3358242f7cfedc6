package ksqlmigrate_test

import (
	"crypto/md5"
	"encoding/hex"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/ksqlclient/ksqlmigrate"
)

// files makes a folder of names and contents.
func files(content map[string]string) fstest.MapFS {
	out := fstest.MapFS{}
	for name, text := range content {
		out[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return out
}

func TestLoad(t *testing.T) {
	t.Parallel()
	got, err := ksqlmigrate.Load(files(map[string]string{
		"V000010__ten.sql": "-- ten\n", "V000002__add_more_tables.sql": "-- two\n", "readme.md": "x",
	}))
	require.NoError(t, err)
	sum := md5.Sum([]byte("-- two\n"))
	require.Equal(t, []ksqlmigrate.Migration{
		{Version: 2, Name: "add more tables", File: "V000002__add_more_tables.sql", SQL: "-- two\n", Checksum: hex.EncodeToString(sum[:])},
		{Version: 10, Name: "ten", File: "V000010__ten.sql", SQL: "-- ten\n", Checksum: got[1].Checksum},
	}, got)
}

func TestLoadTellsEverythingThatIsWrong(t *testing.T) {
	t.Parallel()
	_, err := ksqlmigrate.Load(files(map[string]string{
		"V1__short.sql": "", "V000000__zero.sql": "", "V000003__a.sql": "", "V000003__b.sql": "", "views.sql": "",
	}))
	for _, want := range []string{"V1__short.sql: the name is not", "V000000__zero.sql: versions begin with 1", "V000003__b.sql: has the version of V000003__a.sql", "views.sql: the name"} {
		require.ErrorContains(t, err, want)
	}
}

func TestStatements(t *testing.T) {
	t.Parallel()
	m := ksqlmigrate.Migration{File: "V000001__x.sql", SQL: `-- What it's for; with a semicolon.
--
SET 'auto.offset.reset' = 'earliest';
DEFINE share = '0.95'; DEFINE who = 'O''Brien';
/* block ; */ CREATE STREAM a AS -- why
  SELECT k, 'semi;colon' AS s, '${who}' AS w, v * ${share} AS x FROM b EMIT CHANGES;
UNSET 'auto.offset.reset';
UNDEFINE share;
insert into b (k) values ('$' );
`}
	got, err := m.Statements(nil)
	require.NoError(t, err)
	require.Equal(t, []ksqlmigrate.Statement{
		{
			SQL:        "CREATE STREAM a AS \n  SELECT k, 'semi;colon' AS s, 'O''Brien' AS w, v * 0.95 AS x FROM b EMIT CHANGES;",
			Properties: map[string]any{"auto.offset.reset": "earliest"},
		},
		{SQL: "insert into b (k) values ('$' );", Properties: map[string]any{}},
	}, got)

	got, err = m.Statements(map[string]string{"share": "0.5"})
	require.NoError(t, err)
	require.Contains(t, got[0].SQL, "v * 0.5 AS x", "the caller's value holds")
}

func TestStatementsRefuse(t *testing.T) {
	t.Parallel()
	for sql, want := range map[string]string{
		"CREATE STREAM a (k STRING KEY) WITH (X='y')": "line 1: the last statement has no semicolon",
		"\n\nSELECT * FROM a;":                        `line 3: ksql-migrations takes no statement that begins "SELECT *"`,
		"LIST TABLES;":                                "LIST TABLES",
		"DESCRIBE a;":                                 "DESCRIBE a",
		"PRINT a;":                                    "PRINT a",
		"CREATE VIEW a;":                              "CREATE VIEW",
		"CREATE STREAM a AS SELECT ${x} FROM b;":      "line 1: the variable x is not defined",
		"CREATE STREAM a AS SELECT 'b;":               "line 1: ' without end",
		"/* never ends":                               "a comment without end",
		"-- no line end":                              "a comment without line end",
		";":                                           "a semicolon without statement",
		"SET auto.offset.reset = 'earliest';":         "SET is not of the form SET 'name' = 'value';",
		"DEFINE x;":                                   "DEFINE is not of the form",
		"UNSET 'x' = 'y';":                            "UNSET is not of the form",
	} {
		_, err := ksqlmigrate.Migration{File: "V000001__x.sql", SQL: sql}.Statements(nil)
		require.ErrorContains(t, err, want, sql)
	}
	for _, sql := range []string{
		"CREATE OR REPLACE TABLE a AS SELECT 1;", "CREATE SOURCE TABLE a (k STRING PRIMARY KEY) WITH (X='y');", "CREATE SINK CONNECTOR c WITH ('a'='b');",
		"DROP STREAM IF EXISTS a DELETE TOPIC;", "ALTER TABLE a ADD COLUMN b INT;", "INSERT INTO a SELECT * FROM b;", "TERMINATE q;", "PAUSE q;", "RESUME q;",
		"ASSERT TOPIC a;", "ASSERT NOT EXISTS SCHEMA SUBJECT 'a';", "CREATE TYPE t AS STRING;",
	} {
		got, err := ksqlmigrate.Migration{SQL: sql}.Statements(nil)
		require.NoError(t, err, sql)
		require.Len(t, got, 1)
	}
}

// FuzzStatements: a file is refused, or each of its statements is one, which
// splitting again leaves as it is. Variables are left out, because a value may
// bring anything.
func FuzzStatements(f *testing.F) {
	f.Add("CREATE STREAM a (b INT) WITH (c='d;e'); -- x\nDROP STREAM a;")
	f.Add("DEFINE a = 'b'; INSERT INTO c VALUES ('d');")
	f.Add("/**/SET 'a'='b';")
	f.Fuzz(func(t *testing.T, sql string) {
		got, err := ksqlmigrate.Migration{SQL: strings.ReplaceAll(sql, "${", "$")}.Statements(nil)
		if err != nil {
			require.Empty(t, got)
			return
		}
		for _, s := range got {
			again, err := ksqlmigrate.Migration{SQL: s.SQL}.Statements(nil)
			require.NoError(t, err)
			require.Len(t, again, 1)
			require.Equal(t, s.SQL, again[0].SQL)
		}
	})
}
