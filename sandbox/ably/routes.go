package ably

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Versions of the protocol that are served; 1 was switched off in 2025.
const minVersion, maxVersion = 2, 6

// request is one REST request on its way through the service.
type request struct {
	s    *Server
	w    http.ResponseWriter
	r    *http.Request
	q    url.Values
	who  *principal
	v    float64 // version of the protocol, the newest if none was named
	done bool    // the answer was written, or withheld, already

	publishes string     // how it publishes to channels: [ViaREST], [ViaBatch] or not at all
	receipts  []*receipt // of what it published and nobody was told of yet
}

// route picks the handler. It does so by hand, on the escaped path: a channel
// name may hold slashes, colons and brackets, escaped or not.
func (s *Server) route(w http.ResponseWriter, r *http.Request) {
	x := &request{s: s, w: w, r: r, q: r.URL.Query()}
	if r.Method == http.MethodOptions {
		h := w.Header()
		s.common(h)
		h.Set("Access-Control-Allow-Methods", "GET, POST, PUT, PATCH, DELETE")
		h.Set("Access-Control-Max-Age", "600")
		h.Set("Access-Control-Allow-Headers", r.Header.Get("Access-Control-Request-Headers"))
		w.WriteHeader(http.StatusNoContent)
		return
	}
	if strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		s.serveRealtime(w, r)
		return
	}
	s.mu.Lock()
	s.stats.Requests++
	s.mu.Unlock()
	a := x.answer()
	if x.done || a == nil {
		return
	}
	_ = s.write(w, r, a) // the client may be gone
}

// answer checks what is common to all requests and calls the handler.
func (x *request) answer() *answer {
	s, r := x.s, x.r
	var path []string
	for seg := range strings.SplitSeq(strings.Trim(r.URL.EscapedPath(), "/"), "/") {
		name, err := url.PathUnescape(seg)
		if err != nil {
			return refuse(fail(codeBadRequest, "path is not escaped properly"))
		}
		path = append(path, name)
	}
	if e := x.version(); e != nil {
		return refuse(e)
	}
	switch {
	case len(path) == 1 && path[0] == "time" && r.Method == http.MethodGet:
		return ok([]int64{s.cfg.Now().UnixMilli()})
	case len(path) == 3 && path[0] == "keys" && path[2] == "requestToken" && r.Method == http.MethodPost:
		return x.requestToken(path[1])
	}
	who, e := s.authorize(r)
	if e != nil {
		return refuse(e)
	}
	x.who = who
	if s.cfg.RequestRate > 0 {
		s.mu.Lock()
		fits := s.requests.take(s.cfg.Now(), s.cfg.RequestRate, 1)
		s.mu.Unlock()
		if !fits {
			return refuse(fail(codeRequestRate, "rate limit exceeded; permitted rate = %d; metric = apiRequests.maxRate", s.cfg.RequestRate))
		}
	}
	switch path[0] {
	case "push":
		return x.routePush(path[1:])
	case "channels":
		return x.routeChannel(path[1:])
	case "sse", "event-stream":
		if len(path) == 1 && r.Method == http.MethodGet {
			return x.openStream(path[0] == "event-stream" && !wantsEvents(r))
		}
	case "messages":
		if len(path) == 1 && r.Method == http.MethodPost {
			return x.publishBatch()
		}
	case "presence":
		if len(path) == 1 && r.Method == http.MethodGet {
			return x.presentInChannels()
		}
	case "stats":
		if !who.mayAnywhere(opStats) {
			return refuse(denied(opStats, "the app"))
		}
		return ok([]any{})
	}
	return refuse(notFound("path"))
}

// version refuses versions of the protocol that are not spoken.
func (x *request) version() *errorInfo {
	v := x.r.Header.Get("X-Ably-Version")
	if v == "" {
		v = x.q.Get("v")
	}
	if v == "" {
		x.v = maxVersion
		return nil
	}
	n, err := strconv.ParseFloat(v, 64) // once it was 1.2
	if err != nil || n < minVersion && n != 1.2 || n > maxVersion {
		return fail(codeVersion, "unsupported protocol version")
	}
	x.v = n
	return nil
}

// routePush picks among the calls of push administration.
func (x *request) routePush(path []string) *answer {
	if len(path) == 0 {
		return refuse(notFound("path"))
	}
	switch m := x.r.Method; path[0] {
	case "publish":
		if len(path) == 1 && m == http.MethodPost {
			return x.publishPush()
		}
	case "batch":
		if len(path) == 2 && path[1] == "publish" && m == http.MethodPost {
			return x.publishPushBatch()
		}
	case "deviceRegistrations":
		switch {
		case len(path) == 1:
			return x.routeDevices()
		case len(path) == 2:
			return x.routeDevice(path[1])
		case len(path) == 3 && path[2] == "resetUpdateToken" && m == http.MethodPost:
			return x.resetUpdateToken(path[1])
		}
	case "channelSubscriptions":
		if len(path) == 1 {
			return x.routeSubscriptions()
		}
	case "channels":
		if len(path) == 1 && m == http.MethodGet {
			return x.listPushChannels()
		}
	}
	return refuse(notFound("path"))
}

// body reads and decodes the request's body.
func (x *request) body(limit int) (any, *errorInfo) {
	f, e := requestFormat(x.r)
	if e != nil {
		return nil, e
	}
	b, err := io.ReadAll(http.MaxBytesReader(x.w, x.r.Body, int64(limit)))
	if tooBig := (*http.MaxBytesError)(nil); errors.As(err, &tooBig) {
		return nil, fail(codeTooBig, "maximum message length exceeded; max = %d", limit)
	} else if err != nil {
		return nil, fail(codeBadBody, "body could not be read")
	}
	if len(b) == 0 {
		return nil, fail(codeBadBody, "body is empty")
	}
	v, err := x.s.wire.decode(f, b)
	if err != nil {
		return nil, fail(codeBadBody, "body is not valid %s", f.contentType())
	}
	return v, nil
}

// object reads a body that has to be an object.
func (x *request) object(limit int) (object, *errorInfo) {
	v, e := x.body(limit)
	if e != nil {
		return nil, e
	}
	o, isObject := asObject(v)
	if !isObject {
		return nil, fail(codeBadBody, "body is not an object")
	}
	return o, nil
}

// page cuts the page out of items that the parameters limit and cursor ask
// for, and links to the next.
func page[T any](x *request, items []T, self string) ([]T, []string, *errorInfo) {
	limit := 100
	if text := x.q.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > 1000 {
			return nil, nil, fail(codeBadParam, "invalid limit: 1 to 1000")
		}
		limit = n
	}
	from := 0
	if text := x.q.Get("cursor"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			return nil, nil, fail(codeBadParam, "invalid cursor")
		}
		from = min(n, len(items))
	}
	link := func(rel string, cursor int) string {
		q := url.Values{}
		for k, v := range x.q {
			if !secretParam(k) && k != "cursor" { // no secrets in links
				q[k] = v
			}
		}
		q.Set("limit", strconv.Itoa(limit))
		if cursor > 0 {
			q.Set("cursor", strconv.Itoa(cursor))
		}
		return fmt.Sprintf(`<./%s?%s>; rel="%s"`, self, q.Encode(), rel)
	}
	links := []string{link("first", 0), link("current", from)}
	to := min(from+limit, len(items))
	if to < len(items) {
		links = append(links, link("next", to))
	}
	return items[from:to], links, nil
}

// secretParam reports whether a parameter is one that no link may repeat.
func secretParam(name string) bool {
	return name == "key" || name == "access_token" || name == "accessToken"
}

// window counts in fixed spans of one second.
type window struct {
	start time.Time
	used  int
}

// fits reports whether n of limit are left.
func (w *window) fits(now time.Time, limit, n int) bool {
	if now.Sub(w.start) >= time.Second || now.Before(w.start) {
		*w = window{start: now}
	}
	return w.used+n <= limit
}

// take uses n of limit, if they are left.
func (w *window) take(now time.Time, limit, n int) bool {
	if !w.fits(now, limit, n) {
		return false
	}
	w.used += n
	return true
}
