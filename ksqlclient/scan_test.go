package ksqlclient_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/ksqlclient"
)

const betBody = "{\"columnNames\":[\"BET_ID\",\"PAYOUT\",\"SETTLED_AT\",\"ROWTIME\",\"LEGS\",\"TAGS\",\"N\",\"D\",\"T\",\"F\",\"RAW\",\"OK\"]," +
	"\"columnTypes\":[\"STRING\",\"DECIMAL(9, 2)\",\"TIMESTAMP\",\"BIGINT\",\"ARRAY<STRUCT<`RUNNER` STRING, `ODDS` DOUBLE>>\",\"MAP<STRING, INTEGER>\",\"INTEGER\",\"DATE\",\"TIME\",\"DOUBLE\",\"BYTES\",\"BOOLEAN\"]}\n" +
	`["b1",12.50,"2026-09-01T14:30:00.000",1000,[{"RUNNER":"r","ODDS":1.5}],{"a":1},200,"2026-09-01","14:30",0.5,"aGk=",true]` + "\n" +
	`["b2",0.00,null,2000,null,null,5,"2026-09-02","00:00",1.5,null,false]` + "\n"

type word string

func (w *word) UnmarshalText(b []byte) error {
	*w = word("<" + string(b) + ">")
	return nil
}

type leg struct {
	Runner string  `ksql:"runner"`
	Odds   float32 `ksql:"odds"`
}

type base struct {
	ID word `ksql:"BET_ID"`
}

type bet struct {
	base
	base2
	Payout  ksqlclient.Decimal  `ksql:"payout"`
	Text    any                 `ksql:"rowtime"`
	Settled *time.Time          `ksql:"settled_at"`
	Legs    []leg               `ksql:"legs"`
	Tags    map[word]*uint8     `ksql:"tags"`
	N       uint8               `ksql:"n"`
	Day     time.Time           `ksql:"d"`
	Clock   time.Duration       `ksql:"t"`
	F       float64             `ksql:"f"`
	Raw     []byte              `ksql:"raw"`
	OK      bool                `ksql:"ok"`
	Later   **string            `ksql:"later,optional"`
	Ignored string              `ksql:"-"`
	Other   chan int            // no tag
	Unused  map[string]struct{} //
}

type base2 struct{ X int }

func TestCollectStructs(t *testing.T) {
	t.Parallel()
	c := answer(t, 200, betBody)
	bets, err := ksqlclient.Collect[bet](c.Pull(t.Context(), selectAll, nil))
	require.NoError(t, err)
	require.Equal(t, []bet{
		{
			base: base{ID: "<b1>"}, Payout: mustDecimal(t, "12.50"), Text: int64(1000), Settled: new(time.Date(2026, 9, 1, 14, 30, 0, 0, time.UTC)),
			Legs: []leg{{"r", 1.5}}, Tags: map[word]*uint8{"a": new(uint8(1))}, N: 200, Day: time.Date(2026, 9, 1, 0, 0, 0, 0, time.UTC),
			Clock: 14*time.Hour + 30*time.Minute, F: 0.5, Raw: []byte("hi"), OK: true,
		},
		{base: base{ID: "<b2>"}, Payout: mustDecimal(t, "0.00"), Text: int64(2000), N: 5, Day: time.Date(2026, 9, 2, 0, 0, 0, 0, time.UTC), F: 1.5},
	}, bets)
}

func TestCollectOtherTypes(t *testing.T) {
	t.Parallel()
	c := answer(t, 200, betBody)
	maps, err := ksqlclient.Collect[map[string]any](c.Pull(t.Context(), selectAll, nil))
	require.NoError(t, err)
	require.Len(t, maps, 2)
	require.Equal(t, "b2", maps[1]["bet_id"])
	require.Equal(t, []any{map[string]any{"runner": "r", "odds": 1.5}}, maps[0]["legs"])

	ids, err := ksqlclient.Collect[uint16](answer(t, 200, idHeader+"[1]\n[65535]\n").Pull(t.Context(), selectAll, nil))
	require.NoError(t, err)
	require.Equal(t, []uint16{1, 65535}, ids)

	arrived, err := ksqlclient.Collect[struct {
		At  *time.Time `ksql:"id,unixmilli"`
		Gap string     `ksql:"gap,optional,unixmilli"`
	}](answer(t, 200, idHeader+"[5]\n[null]\n").Pull(t.Context(), selectAll, nil))
	require.NoError(t, err)
	require.Equal(t, time.UnixMilli(5).UTC(), *arrived[0].At)
	require.Nil(t, arrived[1].At)

	type inner struct {
		Money string          `ksql:"money"`
		When  ksqlclient.Date `ksql:"when"`
		More  *[]string       `ksql:"more"`
	}
	body := "{\"columnNames\":[\"S\"],\"columnTypes\":[\"STRUCT<`MONEY` DECIMAL(4, 1), `WHEN` DATE, `MORE` ARRAY<STRING>>\"]}\n" +
		`[{"MONEY":2,"WHEN":1,"MORE":["x"]}]` + "\n"
	got, err := ksqlclient.Collect[struct {
		S inner `ksql:"s"`
	}](answer(t, 200, body).Pull(t.Context(), selectAll, nil))
	require.NoError(t, err)
	require.Equal(t, inner{"2.0", ksqlclient.Date{Year: 1970, Month: 1, Day: 2}, new([]string{"x"})}, got[0].S)
}

func TestCollectReturnsAllOrNothing(t *testing.T) {
	t.Parallel()
	got, err := ksqlclient.Collect[int](answer(t, 200, idHeader+"[1]\n[2").Pull(t.Context(), selectAll, nil))
	require.ErrorIs(t, err, ksqlclient.ErrTruncated)
	require.Nil(t, got)
}

func TestScanErrors(t *testing.T) {
	t.Parallel()
	row := func() ksqlclient.Row {
		rows, err := answer(t, 200, betBody).PullAll(t.Context(), selectAll, nil)
		require.NoError(t, err)
		return rows[1]
	}()
	full := func() ksqlclient.Row {
		rows, err := answer(t, 200, betBody).PullAll(t.Context(), selectAll, nil)
		require.NoError(t, err)
		return rows[0]
	}()
	type badLeg struct {
		Odds int `ksql:"odds"`
	}
	for want, scan := range map[string]error{
		"column settled_at: NULL into time.Time, which is no pointer": row.Scan(new(struct {
			A time.Time `ksql:"settled_at"`
		})),
		"column n: the integer overflows int8": full.Scan(new(struct {
			A int8 `ksql:"n"`
		})),
		"column rowtime: the integer overflows uint8": full.Scan(new(struct {
			A uint8 `ksql:"rowtime"`
		})),
		"column rowtime: an integer into time.Duration": full.Scan(new(struct {
			A time.Duration `ksql:"rowtime"`
		})),
		"column rowtime: an integer into float64": full.Scan(new(struct {
			A float64 `ksql:"rowtime"`
		})),
		"column payout: a DECIMAL into float64": full.Scan(new(struct {
			A float64 `ksql:"payout"`
		})),
		"column bet_id: a STRING into int": full.Scan(new(struct {
			A *int `ksql:"bet_id"`
		})),
		"column bet_id: unixmilli needs a BIGINT": full.Scan(new(struct {
			A time.Time `ksql:"bet_id,unixmilli"`
		})),
		"column bet_id: the text is not accepted by ksqlclient.Date": full.Scan(new(struct {
			A ksqlclient.Date `ksql:"bet_id"`
		})),
		"column legs[0].odds: a DOUBLE into int": full.Scan(new(struct {
			A []badLeg `ksql:"legs"`
		})),
		"column tags[key]: an integer into string": full.Scan(new(struct {
			A map[string]string `ksql:"tags"`
		})),
		"column legs: an ARRAY into string": full.Scan(new(struct {
			A string `ksql:"legs"`
		})),
		"column tags: a MAP or STRUCT into []int": full.Scan(new(struct {
			A []int `ksql:"tags"`
		})),
		`the result has no column "nope" for field A`: full.Scan(new(struct {
			A string `ksql:"nope"`
		})),
		"fields A and B take the same column": full.Scan(new(struct {
			A string `ksql:"bet_id"`
			B string `ksql:"bet_id"`
		})),
		`field A has the unknown option "omitempty"`: full.Scan(new(struct {
			A string `ksql:"bet_id,omitempty"`
		})),
		"field a has a tag but is not exported": full.Scan(new(struct {
			a string `ksql:"bet_id"`
		})),
		"no field of struct {} takes a column": full.Scan(new(struct{})),
		"field ID is embedded by pointer": full.Scan(new(struct {
			*base
		})),
		"12 columns for one value of type int": full.Scan(new(int)),
		"the destination is no pointer":        full.Scan(5),
		"the row is empty":                     ksqlclient.Row{}.Scan(new(int)),
	} {
		require.ErrorIs(t, scan, ksqlclient.ErrScan, want)
		require.ErrorContains(t, scan, want)
		require.NotContains(t, scan.Error(), "b1")
	}
	require.Equal(t, "ksqlclient.Row(12 columns)", full.String())
	require.Empty(t, ksqlclient.Row{}.Map())
	require.Empty(t, ksqlclient.Row{}.Columns())
}
