package preflight

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// AblyConfig says how to reach Ably.
type AblyConfig struct {
	// Key is the API key, "appId.keyId:secret".
	Key string
	// KeyPath is where the key is configured.
	KeyPath string
	// URL is where Ably is, without a slash at the end.
	URL string
	// Transport makes the requests; nil means http.DefaultTransport.
	Transport http.RoundTripper
	// Uses are what the key is used for beside pushes.
	Uses []AblyUse
}

// AblyUse is something that the service, or an app with a token of its, does on
// channels.
type AblyUse struct {
	// Resource is the channels, as in a capability: "outbound:odds:*".
	Resource string
	// Operations are Ably's: "publish".
	Operations []string
	// Purpose ends the sentence "so that Bugle cannot …".
	Purpose string
}

// pushLog is where Ably reports failed pushes (Ably: "Metadata subscriptions").
const pushLog = "[meta]log:push"

const (
	ablyTimeout   = 10 * time.Second
	maxAblyAnswer = 64 << 10
	// codeCapability: the operation is not permitted with the provided capability
	// (ably-common, protocol/errors.json).
	codeCapability = 40160
)

// Ably checks that the key is taken and may do what is asked of it: push-admin,
// subscribe and history on the push log, and its other uses.
func Ably(c AblyConfig) Check {
	return Check{Name: "ably", Do: func(ctx context.Context) []Finding {
		// Nothing of a list with one device is looked at: being allowed to list shows push-admin.
		err := c.ask(ctx, http.MethodGet, "/push/deviceRegistrations?limit=1", nil, nil)
		f, refused := c.finding(err, "push-admin", "send pushes")
		uses := append([]AblyUse{{Resource: pushLog, Operations: []string{"subscribe", "history"}, Purpose: "learn of dead devices"}}, c.Uses...)
		switch {
		case err != nil && !refused:
			return []Finding{f} // what follows would fail alike
		case refused:
			return append([]Finding{f}, c.uses(ctx, uses)...)
		}
		return c.uses(ctx, uses)
	}}
}

// AblyTokens checks that the key which signs the apps' tokens is taken, and has
// what these tokens give: Ably gives a token no more than its key has.
func AblyTokens(c AblyConfig) Check {
	return Check{Name: "ably tokens", Do: func(ctx context.Context) []Finding { return c.uses(ctx, c.Uses) }}
}

// uses asks for one use after the other, until one cannot be asked for.
func (c AblyConfig) uses(ctx context.Context, uses []AblyUse) []Finding {
	var found []Finding
	for _, u := range uses {
		f, goOn := c.use(ctx, u)
		found = append(found, f...)
		if !goOn {
			break
		}
	}
	return found
}

// use asks for a token for one use: Ably gives what both the request and the
// key permit (Ably: "Token request spec"). The token is thrown away, and lives
// for a second. goOn is false when other uses would fail alike.
func (c AblyConfig) use(ctx context.Context, u AblyUse) (found []Finding, goOn bool) {
	name, _, _ := strings.Cut(c.Key, ":")
	want, err := json.Marshal(map[string][]string{u.Resource: slices.Sorted(slices.Values(u.Operations))})
	if err != nil {
		return []Finding{errorf(c.KeyPath, "", "the request cannot be made")}, false
	}
	asked, err := json.Marshal(map[string]any{"keyName": name, "ttl": 1000, "timestamp": time.Now().UnixMilli(), "capability": string(want)})
	if err != nil {
		return []Finding{errorf(c.KeyPath, "", "the request cannot be made")}, false
	}
	var given struct {
		Capability string `json:"capability"`
	}
	does := strings.Join(u.Operations, " and ")
	err = c.ask(ctx, http.MethodPost, "/keys/"+url.PathEscape(name)+"/requestToken", asked, &given)
	if err != nil {
		f, refused := c.finding(err, does+" on "+u.Resource, u.Purpose)
		if e, ok := errors.AsType[*ablyError](err); !refused && (!ok || !e.badKey()) {
			f.Severity = Warning
			f.What = "whether the key may " + does + " on " + u.Resource + " could not be found out: " + err.Error()
		}
		return []Finding{f}, refused
	}
	var capability map[string][]string
	if err := json.Unmarshal([]byte(given.Capability), &capability); err != nil {
		return []Finding{warningf(c.KeyPath, "look at the key's capabilities in Ably's dashboard", "whether the key may %s on %s could not be found out: the answer is not understood", does, u.Resource)}, false
	}
	return c.lacking(u, capability), true
}

// lacking compares what was given with what is needed.
func (c AblyConfig) lacking(u AblyUse, given map[string][]string) []Finding {
	var lacks, narrow []string
	for _, op := range u.Operations {
		all, some := false, []string{}
		for resource, ops := range given {
			switch {
			case !slices.Contains(ops, op) && !slices.Contains(ops, "*"):
			case covers(resource, u.Resource):
				all = true
			default:
				some = append(some, resource)
			}
		}
		switch {
		case all:
		case len(some) == 0:
			lacks = append(lacks, op)
		default:
			slices.Sort(some)
			narrow = append(narrow, op+" on "+strings.Join(some, ", "))
		}
	}
	var found []Finding
	if len(lacks) > 0 {
		f, _ := c.finding(&ablyError{status: http.StatusUnauthorized, code: codeCapability}, strings.Join(lacks, " and ")+" on "+u.Resource, u.Purpose)
		found = append(found, f)
	}
	if len(narrow) > 0 {
		found = append(found, warningf(c.KeyPath, "see that this is enough, or give the key the capability on "+u.Resource,
			"the key has no more than %s of %s", strings.Join(narrow, " and "), u.Resource))
	}
	return found
}

// covers tells whether a resource of a capability has all of another: "*" at the
// end stands for whatever follows (Ably: "Capabilities").
func covers(resource, other string) bool {
	if resource == other || resource == "*" && !strings.HasPrefix(other, "[") {
		return true
	}
	prefix, wild := strings.CutSuffix(resource, ":*")
	return wild && strings.HasPrefix(other, prefix+":")
}

// finding explains an answer; refused says that it is the capability that lacks.
func (c AblyConfig) finding(err error, capability, purpose string) (_ Finding, refused bool) {
	if err == nil {
		return Finding{}, false
	}
	e, ok := errors.AsType[*ablyError](err)
	if !ok {
		return errorf("ably.url", "open the way to main.realtime.ably.net:443, or correct ably.url", "Ably cannot be reached: %s", err), false
	}
	switch {
	case e.code >= 40160 && e.code < 40170:
		return errorf(c.KeyPath, "give the key the capability in Ably's dashboard (API keys); the resource * does not cover metachannels such as "+pushLog,
			"the key lacks the capability %s, so that Bugle cannot %s (code %d)", capability, purpose, e.code), true
	case e.code >= 40110 && e.code <= 40120:
		return errorf(c.KeyPath, "look at the account in Ably's dashboard", "Ably has blocked the account or the app, or a limit is used up (code %d)", e.code), false
	case e.badKey():
		return errorf(c.KeyPath, "copy the whole key from the API keys tab of the app in Ably's dashboard; a revoked key is refused as well",
			"Ably refuses the key (status %d, code %d)", e.status, e.code), false
	case e.status == http.StatusTooManyRequests || e.status >= 500:
		return warningf("ably", "check again in a minute", "Ably is overloaded or in trouble, so that the key could not be checked (status %d, code %d)", e.status, e.code), false
	}
	return errorf("ably.url", "correct ably.url where it is set", "Ably's answer is not understood (status %d, code %d)", e.status, e.code), false
}

// ablyError is a refusal, by numbers: Ably's texts may quote what was sent.
type ablyError struct{ status, code int }

// badKey tells whether it is about the key as a whole.
func (e *ablyError) badKey() bool {
	return e.status == http.StatusUnauthorized || e.code/100 == 401 || e.code == 40400
}

// Error names the numbers.
func (e *ablyError) Error() string { return fmt.Sprintf("status %d, code %d", e.status, e.code) }

// ask makes one request with the key and reads the answer into out, unless nil.
func (c AblyConfig) ask(ctx context.Context, method, path string, body []byte, out any) error {
	ctx, cancel := context.WithTimeout(ctx, ablyTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, c.URL+path, bytes.NewReader(body))
	if err != nil {
		return errors.New("the address is not valid")
	}
	req.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(c.Key)))
	req.Header.Set("Accept", "application/json")
	req.Header.Set("X-Ably-Version", "5")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	transport := c.Transport
	if transport == nil {
		transport = http.DefaultTransport
	}
	resp, err := transport.RoundTrip(req) // no redirect is followed: the key goes to nobody else
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAblyAnswer))
	if err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		var refusal struct {
			Error struct {
				Code int `json:"code"`
			} `json:"error"`
		}
		_ = json.Unmarshal(answer, &refusal) // a proxy's page has no code
		if refusal.Error.Code == 0 {
			refusal.Error.Code, _ = strconv.Atoi(resp.Header.Get("X-Ably-ErrorCode"))
		}
		return &ablyError{status: resp.StatusCode, code: refusal.Error.Code}
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return &ablyError{status: resp.StatusCode}
	}
	return nil
}
