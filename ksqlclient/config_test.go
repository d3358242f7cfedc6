package ksqlclient_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/ksqlclient"
)

func TestConfigReportsAllFaults(t *testing.T) {
	t.Parallel()
	_, err := ksqlclient.New(ksqlclient.Config{
		URL: "ftp://key:hunter2@host/?q=1", Username: "a:b", Timeout: -1, PollInterval: -1, MaxRowBytes: -1, MaxResultBytes: -1,
		MaxReplyBytes: -1, UserAgent: "a\nb", Transport: http.DefaultTransport, CA: []byte("hunter2"),
	})
	require.EqualError(t, err, "validate ksqldb configuration: url: must begin with http:// or https://\n"+
		"url: must not contain credentials, use username and password\n"+
		"url: must have no query and no fragment\n"+
		"username: must not contain a colon\n"+
		"user agent: must not contain line breaks\n"+
		"timeout: must not be negative\n"+
		"poll interval: must not be negative\n"+
		"max row bytes: must not be negative\n"+
		"max result bytes: must not be negative\n"+
		"max reply bytes: must not be negative\n"+
		"transport: excludes ca, tls and cleartext http/2, which are its own matter\n"+
		"ca: contains no PEM certificate")
}

func TestConfigFaults(t *testing.T) {
	t.Parallel()
	roots := &tls.Config{RootCAs: x509.NewCertPool()}
	for want, config := range map[string]ksqlclient.Config{
		"url: is missing":         {},
		"url: cannot be parsed":   {URL: "http://key:hunter2@host:port%"},
		"url: has no host":        {URL: "https://:80"},
		"url: must begin":         {URL: "localhost:8088"},
		"username: is empty":      {URL: "http://h", Password: "hunter2"},
		"cleartext http/2: contr": {URL: "https://h", CleartextHTTP2: true},
		"url: is http but ca":     {URL: "http://h", TLS: &tls.Config{}},
		"ca: is set and tls has":  {URL: "https://h", TLS: roots, CA: certificate1(t)},
	} {
		_, err := ksqlclient.New(config)
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), "hunter2")
	}
}

func certificate1(t *testing.T) []byte {
	t.Helper()
	var pem []byte
	serve(t, "https/1.1", func(http.ResponseWriter, *http.Request) {}, func(c *ksqlclient.Config) { pem = c.CA })
	return pem
}

func TestNothingPrintsCredentials(t *testing.T) {
	t.Parallel()
	config := ksqlclient.Config{URL: "https://host:443/x", Username: "apikey", Password: "hunter2", Timeout: time.Second}
	c, err := ksqlclient.New(config)
	require.NoError(t, err)
	type wrapped struct {
		Config *ksqlclient.Config
		Client *ksqlclient.Client
		Secret ksqlclient.Secret
	}
	for _, v := range []any{config, &config, c, config.Password, wrapped{&config, c, config.Password}, []any{config, c}, map[string]any{"a": config}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t"} {
			text := fmt.Sprintf(verb, v)
			require.NotContains(t, text, "hunter2", verb)
			require.NotContains(t, text, "68756e74657232", verb)
			require.NotContains(t, text, "apikey", verb)
			require.NotContains(t, text, "YXBpa2V5", verb)
		}
	}
	text, err := json.Marshal(struct{ P ksqlclient.Secret }{config.Password})
	require.NoError(t, err)
	require.JSONEq(t, `{"P":"[secret]"}`, string(text))
	require.Equal(t, "ksqlclient.Config{https://host:443}", config.String())
	require.Equal(t, "ksqlclient.Client{https://host:443}", c.String())
	require.Empty(t, ksqlclient.Secret("").String())
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	t.Parallel()
	c := serve(t, "http/1.1", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/info" {
			t.Error("the redirect was followed")
		}
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	}, func(c *ksqlclient.Config) { c.Username = "u" })
	_, err := c.Info(t.Context())
	require.ErrorContains(t, err, "status 307")
}

func TestMutualTLS(t *testing.T) {
	t.Parallel()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(r.TLS.PeerCertificates) == 1 && r.ProtoMajor == 2 {
			write(w, `{"isHealthy":true}`)
		}
	}))
	s.EnableHTTP2 = true
	s.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	s.StartTLS()
	t.Cleanup(s.Close)
	c, err := ksqlclient.New(ksqlclient.Config{URL: s.URL, CA: certificate(s), TLS: &tls.Config{Certificates: s.TLS.Certificates}})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	_, err = c.Health(t.Context())
	require.NoError(t, err)
}
