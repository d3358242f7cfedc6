package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFrontTakesRequestsToWhoeverLives(t *testing.T) {
	t.Parallel()
	f, err := startFront(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, f.close()) })
	post := func() (int, string) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, f.hook(), strings.NewReader("bet"))
		require.NoError(t, err)
		req.Header.Set("X-Ably-Key", "root")
		res, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		return res.StatusCode, string(text)
	}
	status, _ := post()
	require.Equal(t, http.StatusBadGateway, status, "nobody lives")

	var addrs []string
	for _, name := range []string{"one", "two"} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			_, _ = io.WriteString(w, name+" "+r.URL.Path+" "+r.Header.Get("X-Ably-Key")+" "+string(body))
		}))
		t.Cleanup(s.Close)
		addrs = append(addrs, s.Listener.Addr().String())
	}
	f.living = func() []string { return addrs }
	got := map[string]int{}
	for range 4 {
		status, text := post()
		require.Equal(t, http.StatusOK, status)
		got[text]++
	}
	require.Equal(t, map[string]int{"one /v1/hooks/ably root bet": 2, "two /v1/hooks/ably root bet": 2}, got)

	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	f.living = func() []string { return []string{gone.Listener.Addr().String()} }
	status, _ = post()
	require.Equal(t, http.StatusBadGateway, status, "it died")
}
