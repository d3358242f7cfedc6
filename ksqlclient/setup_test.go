package ksqlclient_test

import (
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/bugle-push/bugle/ksqlclient"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// protocols are the ways to reach a server.
var protocols = map[string]func(*httptest.Server, *ksqlclient.Config){
	"http/1.1": func(s *httptest.Server, _ *ksqlclient.Config) { s.Start() },
	"h2c": func(s *httptest.Server, c *ksqlclient.Config) {
		s.Config.Protocols = new(http.Protocols)
		s.Config.Protocols.SetUnencryptedHTTP2(true)
		s.Start()
		c.CleartextHTTP2 = true
	},
	"https/1.1": func(s *httptest.Server, c *ksqlclient.Config) {
		s.StartTLS()
		c.CA = certificate(s)
	},
	"https/2": func(s *httptest.Server, c *ksqlclient.Config) {
		s.EnableHTTP2 = true
		s.StartTLS()
		c.CA = certificate(s)
	},
}

func certificate(s *httptest.Server) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
}

// serve starts a server and returns a client of it.
func serve(t testing.TB, protocol string, handler http.HandlerFunc, change ...func(*ksqlclient.Config)) *ksqlclient.Client {
	t.Helper()
	s := httptest.NewUnstartedServer(handler)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	var config ksqlclient.Config
	protocols[protocol](s, &config)
	t.Cleanup(s.Close)
	config.URL = s.URL
	for _, f := range change {
		f(&config)
	}
	c, err := ksqlclient.New(config)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

// answer returns a client whose every request gets this status and body.
func answer(t testing.TB, status int, body string, change ...func(*ksqlclient.Config)) *ksqlclient.Client {
	t.Helper()
	config := ksqlclient.Config{URL: "http://ksqldb.test", Transport: roundTrip(func(*http.Request) (*http.Response, error) {
		return response(status, body), nil
	})}
	for _, f := range change {
		f(&config)
	}
	c, err := ksqlclient.New(config)
	require.NoError(t, err)
	return c
}

func response(status int, body string) *http.Response {
	return &http.Response{
		StatusCode: status, ProtoMajor: 2, Header: http.Header{}, ContentLength: -1,
		Body: io.NopCloser(strings.NewReader(body)),
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// write sends text and flushes it.
func write(w http.ResponseWriter, text string) {
	_, _ = io.WriteString(w, text)
	w.(http.Flusher).Flush()
}

const (
	selectAll = "SELECT * FROM t;"
	idHeader  = `{"queryId":"query_1","columnNames":["ID"],"columnTypes":["BIGINT"]}` + "\n"
)
