package ablypush

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	// historyPage is the most that Ably puts on a page (Ably: "REST API reference").
	historyPage = 1000
	// maxPages bounds one reading; what is left over is read by the next, at once.
	maxPages = 50
	// maxHistory is the most bytes read of a page.
	maxHistory = 32 << 20
)

// catchUp reads what has happened since the cursor and moves it. It reports
// whether it could.
func (w *Watcher) catchUp(ctx context.Context) bool {
	next, more, err := w.readHistory(ctx)
	if next.After(w.cursor) {
		w.cursor = next
	}
	if err != nil {
		if !w.unread && ctx.Err() == nil {
			w.unread = true
			w.log.Error().Err(err).Msg("history of failed pushes could not be read; does the key have the capability history on [meta]log:push?")
		}
		return false
	}
	if w.unread {
		w.unread = false
		w.log.Info().Msg("history of failed pushes is read again")
	}
	if more {
		w.askHistory()
	}
	return true
}

// readHistory handles the events since the cursor, the oldest first. It returns
// where the next reading may begin, zero for the same place, and whether this
// one ended early.
func (w *Watcher) readHistory(ctx context.Context) (next time.Time, more bool, err error) {
	at := w.client.base + "/channels/" + url.PathEscape(pushLog) + "/messages?" + url.Values{
		"start":     {strconv.FormatInt(w.cursor.UnixMilli(), 10)},
		"direction": {"forwards"},
		"limit":     {strconv.Itoa(historyPage)},
	}.Encode()
	var began, last time.Time // by Ably's clock
	for page := 0; at != ""; page++ {
		if page == maxPages {
			return last, true, nil
		}
		a, err := w.historyPage(ctx, at)
		if err != nil {
			return resume(last), false, err
		}
		if page == 0 {
			began = serverTime(a)
		}
		var messages []struct {
			ID        string `json:"id"`
			Timestamp int64  `json:"timestamp"`
			Data      any    `json:"data"`
			Encoding  string `json:"encoding"`
		}
		if err := json.Unmarshal(a.body, &messages); err != nil {
			return resume(last), false, errors.New("read history: the answer is not a list of messages")
		}
		for _, m := range messages {
			f := parseFailure(m.ID, time.UnixMilli(m.Timestamp), m.Data, m.Encoding)
			w.handle(ctx, f)
			if ctx.Err() != nil {
				return time.Time{}, false, ctx.Err()
			}
			if f.at.After(last) && !f.at.After(began) {
				last = f.at
			}
		}
		if at, err = nextPage(at, a.header); err != nil {
			return resume(last), false, err
		}
	}
	// Nothing older than this can be missing, whatever comes late by less than
	// the overlap.
	return resume(began), false, nil
}

// resume is where to begin after everything up to t was read.
func resume(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.Add(-overlap)
}

func (w *Watcher) historyPage(ctx context.Context, at string) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	a, err := w.client.do(ctx, http.MethodGet, at, nil, maxHistory)
	if err != nil {
		return answer{}, fmt.Errorf("read history: %w", err)
	}
	if a.status != http.StatusOK {
		_, word := judge(a.status, a.code(), "")
		return answer{}, fmt.Errorf("read history: %w", &Error{Code: word, Status: a.status, Ably: a.code()})
	}
	return a, nil
}

// serverTime is when an answer was made, by the clock that stamps the events.
func serverTime(a answer) time.Time {
	if t, err := http.ParseTime(a.header.Get("Date")); err == nil {
		return t
	}
	return time.Now()
}

// nextPage finds the address of the next page (RFC 8288); empty for none. The
// key goes with the request, so it must be the same server.
func nextPage(at string, header http.Header) (string, error) {
	for _, line := range header.Values("Link") {
		for link := range strings.SplitSeq(line, ",") {
			target, params, ok := strings.Cut(strings.TrimSpace(link), ">")
			if !ok || !strings.HasPrefix(target, "<") || !strings.Contains(strings.ReplaceAll(params, `"`, ""), "rel=next") {
				continue
			}
			base, err := url.Parse(at)
			if err != nil {
				return "", errors.New("read history: bad address")
			}
			ref, err := base.Parse(target[1:])
			if err != nil || ref.Host != base.Host || ref.Scheme != base.Scheme {
				return "", errors.New("read history: the next page is elsewhere")
			}
			return ref.String(), nil
		}
	}
	return "", nil
}
