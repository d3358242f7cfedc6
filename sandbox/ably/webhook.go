package ably

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"math/rand/v2"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"time"
)

// Sources of a webhook's events. Source: Ably, "Webhooks".
const (
	SourceMessage  = "channel.message"
	SourcePresence = "channel.presence"
)

// Webhook is an integration rule that posts events in batches to a URL: one
// request at a time, at most one an interval. A request that fails, or is
// answered with anything but 2xx, is repeated with the same events and those
// that came meanwhile. Source: Ably, "Webhooks", batched requests.
type Webhook struct {
	// ID names the rule in bodies and in extras.privileged.skipRule. Empty
	// means "rule" and the rule's place from 1.
	ID string
	// URL is where requests go.
	URL string
	// Channels is a regular expression that channel names have to match
	// somewhere. Empty means all but metachannels, which never match.
	Channels string
	// Sources are the kinds of events. Nil means [SourceMessage].
	Sources []string
	// SigningKey is the id of the key that signs requests. Empty means no
	// signature.
	SigningKey string
	// LongKeyName writes X-Ably-Key as appId.keyId. The documentation says
	// keyId in one place and shows either in others.
	LongKeyName bool
	// Headers are added to each request.
	Headers map[string]string
	// Interval is the time from one request to the next, from which the time
	// before a repeat grows too, by √2 each time. Zero means one second.
	Interval time.Duration
	// MaxBackoff bounds the time before a repeat. Zero means 60 times Interval.
	MaxBackoff time.Duration
	// Life is the age at which an undelivered event is discarded. Zero means
	// five minutes.
	Life time.Duration
	// Timeout is how long a request waits for its answer, by the real clock.
	// Ably documents no number for batched requests. Zero means 15 seconds.
	Timeout time.Duration
	// MaxEvents is the number of events in a request. Zero means 1,000.
	MaxEvents int
}

func (w Webhook) withDefaults(place int) Webhook {
	w.ID = orDefault(w.ID, "rule"+strconv.Itoa(place))
	if w.Sources == nil {
		w.Sources = []string{SourceMessage}
	}
	w.Sources, w.Headers = slices.Clone(w.Sources), maps.Clone(w.Headers)
	w.Interval = orDefault(w.Interval, time.Second)
	w.MaxBackoff = orDefault(w.MaxBackoff, 60*w.Interval)
	w.Life = orDefault(w.Life, 5*time.Minute)
	w.Timeout = orDefault(w.Timeout, 15*time.Second)
	w.MaxEvents = orDefault(w.MaxEvents, 1000)
	return w
}

// validate reports the first contradiction in w, which has its defaults.
func (w Webhook) validate(keys []Key) error {
	u, err := url.Parse(w.URL)
	if err != nil {
		return fmt.Errorf("webhook %s: parse url: %w", w.ID, err)
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return fmt.Errorf("webhook %s: url is not one of http or https", w.ID)
	}
	if _, err := regexp.Compile(w.Channels); err != nil {
		return fmt.Errorf("webhook %s: %w", w.ID, err)
	}
	for _, source := range w.Sources {
		if source != SourceMessage && source != SourcePresence {
			return fmt.Errorf("webhook %s: unknown source %q", w.ID, source)
		}
	}
	if w.SigningKey != "" && !slices.ContainsFunc(keys, func(k Key) bool { return k.ID == w.SigningKey }) {
		return fmt.Errorf("webhook %s: no key %q", w.ID, w.SigningKey)
	}
	if min(w.Interval, w.MaxBackoff, w.Life, w.Timeout) < 0 || w.MaxEvents < 0 {
		return fmt.Errorf("webhook %s: durations and counts must not be negative", w.ID)
	}
	return nil
}

// Delivery is one request of a webhook. Its slices are shared: read them only.
type Delivery struct {
	// Seq numbers the requests of all rules from 1.
	Seq uint64
	// Rule is the id of the rule.
	Rule string
	// At is the time of the request.
	At time.Time
	// Attempt numbers the requests since the last success, from 1.
	Attempt int
	// Events is the number of events in the request, Messages the ids of the
	// messages and presence messages in them.
	Events   int
	Messages []string
	// Status is the answer's, and 0 if there was none.
	Status int
	// Body is what was sent, Key and Signature are the headers of the same
	// names.
	Body           []byte
	Key, Signature string
}

// Succeeded reports whether the request was answered with success.
func (d Delivery) Succeeded() bool { return d.Status >= 200 && d.Status < 300 }

// Deliveries returns the newest requests of all webhooks in order, at least the
// last 256.
func (s *Server) Deliveries() []Delivery {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.deliveries.since(0)
}

// Sign returns the signature of a webhook's body by the key with the given id,
// for requests that a test makes itself. Without such a key it is empty.
func (s *Server) Sign(keyID string, body []byte) string {
	k, known := s.keys[s.cfg.AppID+"."+keyID]
	if !known {
		return ""
	}
	mac := hmac.New(sha256.New, []byte(k.secret))
	mac.Write(body)
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// hook is a rule at work.
type hook struct {
	s      *Server
	cfg    Webhook
	filter *regexp.Regexp
	client *http.Client
	wake   chan struct{}
	queue  []*hookEvent // guarded by s.mu
}

// hookEvent is an event on its way to a webhook.
type hookEvent struct {
	n       uint64
	at      time.Time
	item    hookItem
	ids     []string
	repeats int // how often it was delivered already
}

// hookItem is an event as the body has it.
type hookItem struct {
	WebhookID string   `json:"webhookId"`
	Source    string   `json:"source"`
	Serial    string   `json:"serial"`
	Timestamp int64    `json:"timestamp"`
	Name      string   `json:"name"`
	Data      hookData `json:"data"`
}

type hookData struct {
	ChannelID string     `json:"channelId"`
	Site      string     `json:"site"`
	Messages  []message  `json:"messages,omitempty"`
	Presence  []presence `json:"presence,omitempty"`
}

type hookBody struct {
	Items []hookItem `json:"items"`
}

// newHooks makes the rules of a configuration that was validated.
func newHooks(s *Server) []*hook {
	out := make([]*hook, 0, len(s.cfg.Webhooks))
	for _, w := range s.cfg.Webhooks {
		out = append(out, &hook{
			s: s, cfg: w, filter: regexp.MustCompile(w.Channels), wake: make(chan struct{}, 1),
			client: &http.Client{
				Transport:     &http.Transport{MaxConnsPerHost: 1},
				CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			},
		})
	}
	return out
}

// hookMessages hands published messages to the webhooks. s.mu must be held.
func (s *Server) hookMessages(channel string, msgs []*message) {
	for _, h := range s.hooks {
		if !h.wants(SourceMessage, channel) {
			continue
		}
		data := hookData{ChannelID: channel}
		var ids []string
		for _, m := range msgs {
			if m.skips(h.cfg.ID) {
				continue
			}
			wire := m.in(inJSON)
			wire.Serial = "" // not in the documented form
			data.Messages = append(data.Messages, wire)
			ids = append(ids, m.ID)
		}
		if len(ids) > 0 {
			h.add(hookItem{Source: SourceMessage, Name: "channel.message", Data: data}, ids)
		}
	}
}

// hookPresence hands presence messages to the webhooks. s.mu must be held.
func (s *Server) hookPresence(channel string, msgs []presence) {
	for _, h := range s.hooks {
		if !h.wants(SourcePresence, channel) {
			continue
		}
		data := hookData{ChannelID: channel}
		var ids []string
		for _, p := range msgs {
			data.Presence = append(data.Presence, p.in(inJSON))
			ids = append(ids, p.ID)
		}
		h.add(hookItem{Source: SourcePresence, Name: "presence.message", Data: data}, ids)
	}
}

func (h *hook) wants(source, channel string) bool {
	return slices.Contains(h.cfg.Sources, source) && !isMeta(channel) && h.filter.MatchString(channel)
}

// add makes an event of an item. s.mu must be held.
func (h *hook) add(item hookItem, ids []string) {
	s := h.s
	s.hooked++
	now := s.cfg.Now()
	item.WebhookID, item.Data.Site, item.Timestamp = h.cfg.ID, "stand-in", now.UnixMilli()
	item.Serial = s.cfg.AppID + ":" + strconv.FormatUint(s.hooked, 10)
	h.push(&hookEvent{n: s.hooked, at: now, item: item, ids: ids})
}

// push appends an event. s.mu must be held.
func (h *hook) push(e *hookEvent) {
	h.s.stats.WebhookPending++
	h.queue = append(h.queue, e)
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// run posts events until ctx ends.
func (h *hook) run(ctx context.Context) {
	defer h.client.CloseIdleConnections()
	failures := 0
	for {
		batch := h.take()
		if len(batch) == 0 {
			failures = 0
			select {
			case <-h.wake:
				continue
			case <-ctx.Done():
				return
			}
		}
		if !h.s.wait(ctx, h.delay(batch)) {
			return
		}
		// Events that came while the request waited go with it, as they would
		// with a repeat.
		batch = h.take()
		if len(batch) == 0 {
			continue
		}
		pause := h.cfg.Interval
		if h.post(ctx, batch, failures+1) {
			failures = 0
		} else {
			failures++
			pause = backoff(h.cfg, failures)
		}
		if !h.s.wait(ctx, pause) {
			return
		}
	}
}

// backoff is the time from the n-th failure in a row to the next request.
func backoff(w Webhook, n int) time.Duration {
	d := float64(w.Interval) * math.Pow(math.Sqrt2, float64(n))
	return time.Duration(min(d, float64(w.MaxBackoff)))
}

// wait waits and reports whether ctx still lives.
func (s *Server) wait(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	select {
	case <-s.cfg.After(d):
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// take discards the events that are too old and returns the first of those that
// are left, without removing them.
func (h *hook) take() []*hookEvent {
	s := h.s
	now := s.cfg.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	before := len(h.queue)
	h.queue = slices.DeleteFunc(h.queue, func(e *hookEvent) bool {
		old := now.Sub(e.at) > h.cfg.Life
		if old && e.repeats == 0 {
			s.stats.WebhookDiscarded++
		}
		return old
	})
	s.stats.WebhookPending -= uint64(before - len(h.queue))
	return slices.Clone(h.queue[:min(len(h.queue), h.cfg.MaxEvents)])
}

// post sends a batch once and reports its success.
func (h *hook) post(ctx context.Context, batch []*hookEvent, attempt int) bool {
	s := h.s
	d := Delivery{Rule: h.cfg.ID, At: s.cfg.Now(), Attempt: attempt, Events: len(batch)}
	var body hookBody
	for _, e := range batch {
		body.Items = append(body.Items, e.item)
		d.Messages = append(d.Messages, e.ids...)
	}
	b, err := json.Marshal(body)
	if err != nil { // decoded values always encode
		return false
	}
	d.Body = b
	if k := h.cfg.SigningKey; k != "" {
		d.Key, d.Signature = k, s.Sign(k, b)
		if h.cfg.LongKeyName {
			d.Key = s.cfg.AppID + "." + k
		}
	}
	d.Status = h.request(ctx, d)
	s.mu.Lock()
	defer s.mu.Unlock()
	d.Seq = s.deliveries.next()
	s.deliveries.add(d)
	s.stats.WebhookRequests++
	if !d.Succeeded() {
		s.stats.WebhookFailures++
		return false
	}
	h.delivered(batch)
	return true
}

// request makes the HTTP request and returns the answer's status, 0 for none.
func (h *hook) request(ctx context.Context, d Delivery) int {
	ctx, cancel := context.WithTimeout(ctx, h.cfg.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.cfg.URL, bytes.NewReader(d.Body))
	if err != nil { // the URL was parsed before
		return 0
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Ably-Version", "1.2")
	if d.Signature != "" {
		req.Header.Set("X-Ably-Key", d.Key)
		req.Header.Set("X-Ably-Signature", d.Signature)
	}
	for name, value := range h.cfg.Headers {
		req.Header.Set(name, value)
	}
	res, err := h.client.Do(req)
	if err != nil {
		return 0
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 1<<20)) // for the next use of the connection
	_ = res.Body.Close()
	return res.StatusCode
}

// delivered takes a batch off the queue, and puts back what the faults want to
// be delivered again. s.mu must be held.
func (h *hook) delivered(batch []*hookEvent) {
	s := h.s
	for _, e := range batch {
		s.stats.WebhookEvents++
		if e.repeats > 0 {
			s.stats.WebhookRepeats++
		}
		e.repeats++
	}
	f := s.faults.Webhooks
	rng := h.rng(batch[0].n, 1)
	switch {
	case s.hookTwice > 0:
		s.hookTwice--
		s.stats.Faults[WebhookTwice]++
		return // the batch stays where it is
	case batch[0].repeats == 1 && rng.Float64() < f.Twice:
		s.stats.Faults[WebhookTwice]++
		return
	}
	h.queue = slices.Delete(h.queue, 0, len(batch))
	s.stats.WebhookPending -= uint64(len(batch))
	for _, e := range batch {
		if e.repeats == 1 && h.rng(e.n, 2).Float64() < f.Repeat {
			s.stats.Faults[WebhookRepeat]++
			h.push(e)
		}
	}
}

// delay draws the time for which a request is held back.
func (h *hook) delay(batch []*hookEvent) time.Duration {
	s := h.s
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.faults.Webhooks
	return between(h.rng(batch[0].n, 3+uint64(batch[0].repeats)), f.DelayMin, max(f.DelayMin, f.DelayMax))
}

// rng returns the source of the faults of one event.
func (h *hook) rng(n, purpose uint64) *rand.Rand {
	key := keyOf(h.cfg.ID, "")
	return rand.New(rand.NewPCG(h.s.cfg.Seed^binary.LittleEndian.Uint64(key[:8]), n<<8|purpose))
}
