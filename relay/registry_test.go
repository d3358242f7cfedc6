package relay_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"github.com/twmb/avro"

	"github.com/bugle-push/bugle/internal/fault"
	"github.com/bugle-push/bugle/relay"
)

var _ relay.Decoder = (*relay.Registry)(nil)

// fakeRegistry speaks the paths of the Schema Registry that a decoder needs,
// with the error codes of the real one.
type fakeRegistry struct {
	*httptest.Server

	mu       sync.Mutex
	schemas  map[int]fakeSchema
	subjects map[string]fakeSchema // "subject/version"
	broken   http.HandlerFunc      // answers instead, while it is set
	asked    int
}

type fakeSchema struct {
	Schema     string           `json:"schema"`
	Type       string           `json:"schemaType,omitempty"`
	References []map[string]any `json:"references,omitempty"`
}

func newFakeRegistry(t testing.TB) *fakeRegistry {
	t.Helper()
	f := &fakeRegistry{schemas: map[int]fakeSchema{}, subjects: map[string]fakeSchema{}}
	refuse := func(w http.ResponseWriter, status, code int, message string) {
		w.Header().Set("Content-Type", "application/vnd.schemaregistry.v1+json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(map[string]any{"error_code": code, "message": message})
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /schemas/ids/{id}", func(w http.ResponseWriter, r *http.Request) {
		for id, s := range f.schemas {
			if fmt.Sprint(id) == r.PathValue("id") {
				_ = json.NewEncoder(w).Encode(s)
				return
			}
		}
		refuse(w, 404, 40403, "Schema "+r.PathValue("id")+" not found")
	})
	mux.HandleFunc("GET /subjects/{subject}/versions/{version}", func(w http.ResponseWriter, r *http.Request) {
		s, ok := f.subjects[r.PathValue("subject")+"/"+r.PathValue("version")]
		if !ok {
			refuse(w, 404, 40401, "Subject not found")
			return
		}
		_ = json.NewEncoder(w).Encode(s)
	})
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.asked++
		if user, password, _ := r.BasicAuth(); user != "KEY" || password != "secret" {
			refuse(w, 401, 401, "Unauthorized")
			return
		}
		if f.broken != nil {
			f.broken(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(f.Close)
	return f
}

func (f *fakeRegistry) set(broken http.HandlerFunc) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.broken = broken
}

func (f *fakeRegistry) requests() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked
}

func (f *fakeRegistry) decoder(t testing.TB, change ...func(*relay.RegistryConfig)) *relay.Registry {
	t.Helper()
	cfg := relay.RegistryConfig{URL: f.URL, Username: "KEY", Password: "secret"}
	for _, c := range change {
		c(&cfg)
	}
	r, err := relay.NewRegistry(cfg)
	require.NoError(t, err)
	t.Cleanup(r.Close)
	return r
}

// framed puts a payload into the wire format.
func framed(id int, payload []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(id)), payload...)
}

func encoded(t testing.TB, schema string, v any) []byte {
	t.Helper()
	s, err := avro.Parse(schema)
	require.NoError(t, err)
	out, err := s.Encode(v)
	require.NoError(t, err)
	return out
}

const oddsSchema = `{"type":"record","name":"Runner","fields":[
	{"name":"name","type":"string"},
	{"name":"odds","type":["null","double"]},
	{"name":"price","type":{"type":"bytes","logicalType":"decimal","precision":10,"scale":2}},
	{"name":"fixed_price","type":{"type":"fixed","name":"F","size":4,"logicalType":"decimal","precision":8,"scale":3}},
	{"name":"at","type":{"type":"long","logicalType":"timestamp-millis"}},
	{"name":"micros","type":{"type":"long","logicalType":"timestamp-micros"}},
	{"name":"day","type":{"type":"int","logicalType":"date"}},
	{"name":"clock","type":{"type":"int","logicalType":"time-millis"}},
	{"name":"id","type":{"type":"string","logicalType":"uuid"}},
	{"name":"raw","type":"bytes"},
	{"name":"state","type":{"type":"enum","name":"State","symbols":["OPEN","SUSPENDED"]}},
	{"name":"note","type":["null","string",{"type":"array","items":"int"}]},
	{"name":"tags","type":{"type":"map","values":"long"}},
	{"name":"not_a_number","type":"float"}
]}`

func runner() map[string]any {
	return map[string]any{
		"name": "Car <1> \u2028", "odds": 0.125, "price": big.NewRat(-1250, 100), "fixed_price": big.NewRat(1, 8),
		"at": int64(1786000000123), "micros": int64(1786000000123456), "day": int32(20671), "clock": int32(3600000),
		"id": "f81d4fae-7dec-11d0-a765-00a0c91e6bf6", "raw": []byte{0, 255}, "state": "SUSPENDED",
		"note": []any{int32(1), int32(2)}, "tags": map[string]any{"a": int64(9007199254740993)}, "not_a_number": float32(math.NaN()),
	}
}

const runnerJSON = `{"name":"Car <1> \u2028","odds":0.125,"price":-12.50,"fixed_price":0.125,
	"at":1786000000123,"micros":1786000000123456,"day":20671,"clock":3600000,
	"id":"f81d4fae-7dec-11d0-a765-00a0c91e6bf6","raw":"AP8=","state":"SUSPENDED","note":[1,2],
	"tags":{"a":9007199254740993},"not_a_number":null}`

func TestAvroBecomesPlainJSON(t *testing.T) {
	t.Parallel()
	f := newFakeRegistry(t)
	f.schemas[7] = fakeSchema{Schema: oddsSchema}
	out, err := f.decoder(t).Decode(t.Context(), "odds", framed(7, encoded(t, oddsSchema, runner())))
	require.NoError(t, err)
	require.JSONEq(t, runnerJSON, string(out))
	require.Contains(t, string(out), `"price":-12.50`, "a decimal keeps its places")
	require.Contains(t, string(out), `9007199254740993`, "a long keeps its digits")
	require.NotContains(t, string(out), "\n")
}

func TestRareLogicalTypes(t *testing.T) {
	t.Parallel()
	f := newFakeRegistry(t)
	f.schemas[1] = fakeSchema{Schema: `{"type":"bytes","logicalType":"big-decimal"}`}
	f.schemas[2] = fakeSchema{Schema: `{"type":"fixed","name":"U","size":16,"logicalType":"uuid"}`}
	f.schemas[3] = fakeSchema{Schema: `{"type":"fixed","name":"D","size":12,"logicalType":"duration"}`}
	f.schemas[4] = fakeSchema{Schema: `{"type":"long","logicalType":"made-up"}`}
	d := f.decoder(t)
	for _, c := range []struct {
		id   int
		in   []byte
		want string
	}{
		{1, encoded(t, f.schemas[1].Schema, big.NewRat(-5, 4)), `-1.25`},
		{1, encoded(t, f.schemas[1].Schema, big.NewRat(1200, 1)), `1200`},
		{2, []byte("\xf8\x1d\x4f\xae\x7d\xec\x11\xd0\xa7\x65\x00\xa0\xc9\x1e\x6b\xf6"), `"f81d4fae-7dec-11d0-a765-00a0c91e6bf6"`},
		{3, make([]byte, 12), `"AAAAAAAAAAAAAAAA"`},
		{4, []byte{6}, `3`},
	} {
		out, err := d.Decode(t.Context(), "odds", framed(c.id, c.in))
		require.NoError(t, err)
		require.Equal(t, c.want, string(out))
	}
}

func TestReferencedSchemasAreFetched(t *testing.T) {
	t.Parallel()
	f := newFakeRegistry(t)
	ref := func(name, subject string, version int) map[string]any {
		return map[string]any{"name": name, "subject": subject, "version": version}
	}
	f.subjects["base/1"] = fakeSchema{Schema: `{"type":"record","name":"Base","namespace":"x","fields":[{"name":"n","type":"int"}]}`}
	f.subjects["mid/3"] = fakeSchema{
		Schema:     `{"type":"record","name":"Mid","namespace":"x","fields":[{"name":"b","type":"x.Base"}]}`,
		References: []map[string]any{ref("x.Base", "base", 1)},
	}
	f.schemas[9] = fakeSchema{
		Schema:     `{"type":"record","name":"Top","namespace":"x","fields":[{"name":"m","type":"x.Mid"},{"name":"b","type":"x.Base"}]}`,
		References: []map[string]any{ref("x.Mid", "mid", 3), ref("x.Base", "base", 1)},
	}
	out, err := f.decoder(t).Decode(t.Context(), "odds", framed(9, []byte{2, 4}))
	require.NoError(t, err)
	require.JSONEq(t, `{"m":{"b":{"n":1}},"b":{"n":2}}`, string(out))
	require.Equal(t, 3, f.requests(), "a schema that is referred to twice is asked for once")

	f.schemas[10] = fakeSchema{Schema: `"int"`, References: []map[string]any{ref("x", "gone", 1)}}
	_, err = f.decoder(t).Decode(t.Context(), "odds", framed(10, []byte{2}))
	requireReason(t, err, relay.BadSchema, 10)
	require.ErrorContains(t, err, "gone, version 1")
}

func TestJSONSchemaLeavesTheJSON(t *testing.T) {
	t.Parallel()
	f := newFakeRegistry(t)
	f.schemas[3] = fakeSchema{Schema: `{"type":"array"}`, Type: "JSON"}
	d := f.decoder(t)
	out, err := d.Decode(t.Context(), "odds", framed(3, []byte(`[{"odds": 1.50}]`)))
	require.NoError(t, err)
	require.Equal(t, `[{"odds": 1.50}]`, string(out))
	_, err = d.Decode(t.Context(), "odds", framed(3, []byte(`[`)))
	requireReason(t, err, relay.BadValue, 3)
}

func TestWhatHasNoMagicBytePasses(t *testing.T) {
	t.Parallel()
	f := newFakeRegistry(t)
	d := f.decoder(t)
	for _, value := range [][]byte{nil, {}, []byte(`{"a":1}`), []byte("poison"), {1, 0, 0, 0, 7}} {
		out, err := d.Decode(t.Context(), "odds", value)
		require.NoError(t, err)
		require.Equal(t, value, out)
	}
	require.Zero(t, f.requests())
}

func requireReason(t testing.TB, err error, reason relay.Reason, id int) {
	t.Helper()
	require.ErrorIs(t, err, relay.ErrUndecodable)
	require.NotErrorIs(t, err, relay.ErrRegistry)
	var final *relay.UndecodableError
	require.ErrorAs(t, err, &final)
	require.Equal(t, reason, final.Reason)
	require.Equal(t, id, final.SchemaID)
	require.Equal(t, "odds", final.Topic)
	require.Contains(t, relay.Reasons(), reason)
}

func TestWhatCannotBeDecodedIsFinal(t *testing.T) {
	t.Parallel()
	f := newFakeRegistry(t)
	f.schemas[7] = fakeSchema{Schema: oddsSchema}
	f.schemas[8] = fakeSchema{Schema: `{"type":"record"}`}
	f.schemas[5] = fakeSchema{Schema: `syntax = "proto3"; message Odds {}`, Type: "PROTOBUF"}
	d := f.decoder(t)
	good := framed(7, encoded(t, oddsSchema, runner()))
	for name, c := range map[string]struct {
		value  []byte
		reason relay.Reason
		id     int
	}{
		"no id":       {[]byte{0, 0, 0, 1}, relay.BadHeader, 0},
		"unknown id":  {framed(4711, []byte{2}), relay.UnknownSchema, 4711},
		"no schema":   {framed(8, []byte{2}), relay.BadSchema, 8},
		"protobuf":    {framed(5, []byte{0, 2}), relay.UnsupportedSchema, 5},
		"cut":         {good[:20], relay.BadValue, 7},
		"empty":       {framed(7, nil), relay.BadValue, 7},
		"longer":      {append(append([]byte{}, good...), 0), relay.BadValue, 7},
		"huge length": {framed(7, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}), relay.BadValue, 7},
		"no union":    {framed(7, []byte{2, 'x', 99}), relay.BadValue, 7},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := d.Decode(t.Context(), "odds", c.value)
			requireReason(t, err, c.reason, c.id)
			require.NotContains(t, err.Error(), "Car", "an error repeats nothing of the value")
		})
	}
}

// While the registry is away nothing is final, what is known goes on, and what
// was not known decodes once it is back.
func TestAnOutageOfTheRegistryIsTemporary(t *testing.T) {
	t.Parallel()
	f := newFakeRegistry(t)
	f.schemas[7] = fakeSchema{Schema: `"int"`}
	f.schemas[8] = fakeSchema{Schema: `"int"`}
	metrics := prometheus.NewRegistry()
	d := f.decoder(t, func(c *relay.RegistryConfig) { c.Registerer = metrics })
	_, err := d.Decode(t.Context(), "odds", framed(7, []byte{4}))
	require.NoError(t, err)

	answers := map[string]http.HandlerFunc{
		"500": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
		"429": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTooManyRequests) },
		"403": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) },
		"404 of a proxy": func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "<html>not here</html>", http.StatusNotFound)
		},
		"redirect":  func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) },
		"a page":    func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>log in</html>")) },
		"no schema": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("{}")) },
		"endless": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"schema":"` + strings.Repeat("a", 9<<20)))
		},
		"cut": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = w.Write([]byte(`{"sch`))
		},
		"closed": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	}
	for name, broken := range answers {
		f.set(broken)
		_, err := d.Decode(t.Context(), "odds", framed(8, []byte{4}))
		require.ErrorIs(t, err, relay.ErrRegistry, name)
		require.NotErrorIs(t, err, relay.ErrUndecodable, name)
		require.Less(t, len(err.Error()), 500, name)
		out, err := d.Decode(t.Context(), "odds", framed(7, []byte{4}))
		require.NoError(t, err, "what is known goes on")
		require.Equal(t, "2", string(out))
	}
	f.set(nil)
	out, err := d.Decode(t.Context(), "odds", framed(8, []byte{4}))
	require.NoError(t, err)
	require.Equal(t, "2", string(out))
	require.NoError(t, testutil.GatherAndCompare(metrics, strings.NewReader(fmt.Sprintf(`
# HELP bugle_schema_registry_lookups_total Schemas asked for by outcome.
# TYPE bugle_schema_registry_lookups_total counter
bugle_schema_registry_lookups_total{outcome="failed"} %d
bugle_schema_registry_lookups_total{outcome="found"} 2
bugle_schema_registry_lookups_total{outcome="refused"} 0
`, len(answers)))))

	wrong := f.decoder(t, func(c *relay.RegistryConfig) { c.Password = "wrong" })
	_, err = wrong.Decode(t.Context(), "odds", framed(8, []byte{4}))
	require.ErrorIs(t, err, relay.ErrRegistry, "credentials can be mended")
	require.NotContains(t, err.Error(), "wrong")
}

func TestACallerWaitsNoLongerThanItsContext(t *testing.T) {
	t.Parallel()
	f := newFakeRegistry(t)
	f.schemas[7] = fakeSchema{Schema: `"int"`}
	release := make(chan struct{})
	f.set(func(http.ResponseWriter, *http.Request) { <-release; panic(http.ErrAbortHandler) })
	defer close(release)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := f.decoder(t).Decode(ctx, "odds", framed(7, []byte{4}))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NotErrorIs(t, err, relay.ErrUndecodable)
}

func TestSchemasAreAskedForOnceAndKeptWithinABound(t *testing.T) {
	t.Parallel()
	f := newFakeRegistry(t)
	for id := range 5 {
		f.schemas[id] = fakeSchema{Schema: `"int"`}
	}
	d := f.decoder(t, func(c *relay.RegistryConfig) { c.Schemas = 3 })
	ask := func(id int) {
		_, err := d.Decode(t.Context(), "odds", framed(id, []byte{4}))
		require.NoError(t, err)
	}
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() { _, _ = d.Decode(t.Context(), "odds", framed(0, []byte{4})) })
	}
	wg.Wait()
	require.Equal(t, 1, f.requests(), "callers at once share a question")
	before := f.requests()
	for _, id := range []int{0, 1, 2, 0, 1, 2} {
		ask(id)
	}
	require.Equal(t, before+2, f.requests())
	ask(0)
	ask(3) // 1 was used longest ago
	ask(0)
	ask(2)
	require.Equal(t, before+3, f.requests())
	ask(1)
	require.Equal(t, before+4, f.requests())

	for range 20 {
		_, err := d.Decode(t.Context(), "odds", framed(99, []byte{4}))
		requireReason(t, err, relay.UnknownSchema, 99)
	}
	require.Equal(t, before+5, f.requests(), "a poison record asks once in a while")
}

func TestARegistryNeedsAURL(t *testing.T) {
	t.Parallel()
	_, err := relay.NewRegistry(relay.RegistryConfig{})
	require.Equal(t, fault.Invalid, fault.KindOf(err))
}

// Whatever stands in a value, it becomes valid JSON or a final error.
func FuzzDecode(f *testing.F) {
	registry := newFakeRegistry(f)
	registry.schemas[1] = fakeSchema{Schema: oddsSchema}
	registry.schemas[2] = fakeSchema{Schema: `{"type":"array","items":"null"}`}
	registry.schemas[3] = fakeSchema{Schema: `{"type":"record","name":"L","fields":[{"name":"next","type":["null","L"]},{"name":"m","type":{"type":"map","values":"L"}}]}`}
	registry.schemas[4] = fakeSchema{Schema: `{}`, Type: "JSON"}
	registry.schemas[5] = fakeSchema{Schema: `{"type":"bytes","logicalType":"big-decimal"}`}
	registry.schemas[6] = fakeSchema{Schema: `[{"type":"fixed","name":"U","size":16,"logicalType":"uuid"},{"type":"fixed","name":"D","size":12,"logicalType":"duration"},"float"]`}
	d := registry.decoder(f)
	f.Add(framed(1, encoded(f, oddsSchema, runner())))
	for id := range 7 {
		f.Add(framed(id, []byte{2, 0, 2, 0}))
	}
	f.Add(framed(2, binary.AppendVarint(nil, 1<<40)))
	f.Add(framed(6, append([]byte{0}, make([]byte, 16)...)))
	f.Add([]byte{0})
	f.Fuzz(func(t *testing.T, value []byte) {
		out, err := d.Decode(t.Context(), "odds", value)
		switch {
		case err != nil:
			require.ErrorIs(t, err, relay.ErrUndecodable)
		case len(value) > 0 && value[0] == 0:
			require.True(t, json.Valid(out), "%q", out)
		default:
			require.Equal(t, value, out)
		}
	})
}
