package page_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/internal/browsertest"
	"github.com/bugle-push/bugle/relay/ablytoken"
	"github.com/bugle-push/bugle/sandbox/ably"
	"github.com/bugle-push/bugle/sandbox/page"
)

// world is a page with everything that it speaks with: Ably's stand-in, a Bugle that
// does what the test wants, and guests.
type world struct {
	page  *page.Server
	ably  *ably.Server
	bugle *bugle
	hosts *hosts
}

// hosts welcomes guests whose tokens the world's Bugle takes.
type hosts struct {
	mu   sync.Mutex
	gone []string
}

func (h *hosts) Welcome(n int) (page.Guest, error) {
	user := fmt.Sprintf("guest-%d", n)
	return page.Guest{User: user, Token: "token-of-" + user, Device: page.Device{
		ID: user + "-phone", Platform: "android", Target: page.Target{Kind: "fcm_token", Value: "fcm:" + user},
	}}, nil
}

func (h *hosts) Farewell(g page.Guest) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.gone = append(h.gone, g.User)
}

func (h *hosts) left() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]string{}, h.gone...)
}

// bugle is the part of Bugle's API that the page uses.
type bugle struct {
	*httptest.Server
	tokens *ablytoken.Issuer
	life   time.Duration // what is said of a token for Ably

	mu      sync.Mutex
	status  int // not 0: the answer to everything
	devices map[string]string
	inbox   []map[string]any
	asked   int // for tokens for Ably
}

func newBugle(t *testing.T, ablyKey string) *bugle {
	t.Helper()
	tokens, err := ablytoken.New(ablytoken.Config{Key: ablyKey})
	require.NoError(t, err)
	b := &bugle{tokens: tokens, life: time.Hour, devices: map[string]string{}}
	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter, v any) { _ = json.NewEncoder(w).Encode(v) }
	mux.HandleFunc("GET /v1/devices", func(w http.ResponseWriter, _ *http.Request) {
		list := []map[string]string{}
		for id, state := range b.devices {
			list = append(list, map[string]string{"id": id, "state": state})
		}
		answer(w, map[string]any{"devices": list})
	})
	for path, state := range map[string]string{"activate": "active", "deactivate": "inactive"} {
		mux.HandleFunc("POST /v1/devices/{id}/"+path, func(w http.ResponseWriter, r *http.Request) {
			b.devices[r.PathValue("id")] = state
			if state == "inactive" {
				w.WriteHeader(http.StatusNoContent)
				return
			}
			answer(w, map[string]string{"id": r.PathValue("id"), "state": state})
		})
	}
	mux.HandleFunc("GET /v1/notifications", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]any{"notifications": b.inbox})
	})
	mux.HandleFunc("POST /v1/ably/token", func(w http.ResponseWriter, r *http.Request) {
		b.asked++
		token, err := b.tokens.Token(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer token-of-"))
		if err != nil {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		answer(w, map[string]any{"token": token.JWT, "expires": time.Now().Add(b.life).UnixMilli(), "clientId": token.ClientID})
	})
	b.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Access-Control-Allow-Origin", r.Header.Get("Origin"))
		w.Header().Set("Access-Control-Allow-Headers", "Authorization, Content-Type")
		w.Header().Set("Access-Control-Allow-Methods", "GET, POST")
		b.mu.Lock()
		defer b.mu.Unlock()
		switch {
		case r.Method == http.MethodOptions:
			w.WriteHeader(http.StatusNoContent)
		case b.status != 0:
			w.WriteHeader(b.status)
		case !strings.HasPrefix(r.Header.Get("Authorization"), "Bearer token-of-"):
			w.WriteHeader(http.StatusUnauthorized)
		default:
			mux.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(b.Close)
	return b
}

// set changes the Bugle.
func (b *bugle) set(do func(*bugle)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	do(b)
}

func (b *bugle) tokensAsked() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.asked
}

// newWorld returns a world without races.
func newWorld(t *testing.T) *world {
	t.Helper()
	stand, err := ably.Start(t.Context(), ably.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { _ = stand.Close() })
	w := &world{ably: stand, bugle: newBugle(t, stand.Key()), hosts: &hosts{}}
	w.page, err = page.Start(t.Context(), page.Config{
		Document: page.Document{API: w.bugle.URL, Ably: stand.URL()}, Host: w.hosts, Guests: 3, Away: time.Hour,
	})
	require.NoError(t, err)
	t.Cleanup(func(p *page.Server) func() { return func() { require.NoError(t, p.Close()) } }(w.page))
	return w
}

// look opens the page in a browser.
func (w *world) look(ctx context.Context, t *testing.T) *browsertest.Tab {
	t.Helper()
	b := browsertest.Look(ctx, t, w.page.URL()+"/", w.ably.URL()+"/", w.bugle.URL+"/")
	b.Open(t, w.page.URL()+"/")
	return b
}

// race enters a race that starts in a while.
func (w *world) race(id, name string, in time.Duration) {
	at := time.Now().Add(in)
	w.page.Show(page.Race{ID: id, Name: name, Course: "Kempton Park", StartsAt: &at, Status: "SCHEDULED"})
}

type tile struct {
	Name string  `json:"name"`
	Odds float64 `json:"odds"`
}

// odds publishes a snapshot, as the relay does.
func (w *world) odds(t *testing.T, race string, tiles ...tile) {
	t.Helper()
	body, err := json.Marshal(map[string]any{"data": tiles})
	require.NoError(t, err)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.ably.URL()+"/channels/outbound:odds:"+race+"/messages", strings.NewReader(string(body)))
	require.NoError(t, err)
	name, secret, _ := strings.Cut(w.ably.Key(), ":")
	req.SetBasicAuth(name, secret)
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer res.Body.Close()
	require.Equal(t, http.StatusCreated, res.StatusCode)
	http.DefaultClient.CloseIdleConnections()
}

// six are tiles of six cars.
func six(odds ...float64) []tile {
	var all []tile
	for i, o := range odds {
		all = append(all, tile{fmt.Sprintf("Car %d", i+1), o})
	}
	return all
}

// push puts a push onto the phone of the first guest.
func (w *world) push(t *testing.T, seq int, tag, category, title, body string, data map[string]string) {
	t.Helper()
	all := map[string]string{"nid": fmt.Sprint(seq), "seq": fmt.Sprint(seq), "thread": tag, "category": category}
	maps.Copy(all, data)
	require.True(t, w.page.Push("fcm:guest-1", page.Push{Title: title, Body: body, Tag: tag, Data: all, At: time.Now()}))
}
