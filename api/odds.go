package api

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"os"
	"reflect"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"
	"github.com/go-chi/httprate"

	"github.com/bugle-push/bugle/internal/fault"
	"github.com/bugle-push/bugle/relay"
)

// OddsBoard knows the newest odds of each event. Its errors carry a fault.Kind.
type OddsBoard interface {
	// Latest returns the newest snapshot of an event.
	Latest(event string) (*relay.Snapshot, error)
	// Stream follows an event from what the client has seen last.
	Stream(event string, after relay.Position) (*relay.Stream, error)
}

// The defaults of OddsConfig.
const (
	// DefaultHeartbeat is below the 30 to 60 seconds after which proxies and
	// mobile networks take a silent connection for dead.
	DefaultHeartbeat = 15 * time.Second
	// DefaultStreamWriteTimeout is how long a client may take to make room for
	// the next update once the buffers of the connection are full.
	DefaultStreamWriteTimeout = 10 * time.Second
	// DefaultStreamAge is how long a stream may be open: the client comes back,
	// at any replica, and shows its token again.
	DefaultStreamAge = time.Hour
	// DefaultStreamsPerUser is how many streams one user may have open on a replica.
	DefaultStreamsPerUser = 20
	// DefaultStreamsPerAddress is how many streams one address may have open on a replica when odds
	// are public: a tenth of relay.DefaultMaxStreams, since a carrier puts thousands of phones
	// behind one (RFC 6269, section 5).
	DefaultStreamsPerAddress = relay.DefaultMaxStreams / 10
)

// OddsConfig is how odds are served.
type OddsConfig struct {
	// Board has the odds; nil leaves the routes out.
	Board OddsBoard
	// Public serves odds to anybody, without a token, and to pages of any origin.
	Public bool
	// Heartbeat is how often a silent stream gets a comment; 0 means DefaultHeartbeat.
	Heartbeat time.Duration
	// WriteTimeout is how long one write to a stream may take; 0 means
	// DefaultStreamWriteTimeout.
	WriteTimeout time.Duration
	// MaxAge is how long a stream may be open, give or take a tenth; 0 means
	// DefaultStreamAge.
	MaxAge time.Duration
	// PerUser is how many streams one user may have open; 0 means
	// DefaultStreamsPerUser. It does not count when Public.
	PerUser int
	// PerAddress is the same for an address (of IPv6, its /64), when Public; 0 means
	// DefaultStreamsPerAddress.
	PerAddress int
}

// odds serves them.
type odds struct {
	OddsConfig

	proxies []netip.Prefix // see Config.TrustedProxies

	mu   sync.Mutex
	open map[string]int // streams that are open, by user, or by address when Public
}

func newOdds(cfg OddsConfig, proxies []netip.Prefix) (*odds, error) {
	if cfg.Heartbeat < 0 || cfg.WriteTimeout < 0 || cfg.MaxAge < 0 || cfg.PerUser < 0 || cfg.PerAddress < 0 {
		return nil, fault.New(fault.Invalid, "api: Heartbeat, WriteTimeout, MaxAge, PerUser and PerAddress of odds must not be negative")
	}
	cfg.Heartbeat = cmp.Or(cfg.Heartbeat, DefaultHeartbeat)
	cfg.WriteTimeout = cmp.Or(cfg.WriteTimeout, DefaultStreamWriteTimeout)
	cfg.MaxAge = cmp.Or(cfg.MaxAge, DefaultStreamAge)
	cfg.PerUser = cmp.Or(cfg.PerUser, DefaultStreamsPerUser)
	cfg.PerAddress = cmp.Or(cfg.PerAddress, DefaultStreamsPerAddress)
	return &odds{OddsConfig: cfg, proxies: proxies, open: map[string]int{}}, nil
}

// OddsSnapshot is the newest that is known of an event.
type OddsSnapshot struct {
	Event     string    `json:"event" example:"ascot-1505"`
	ID        string    `json:"id" doc:"Where the record stands in Kafka; a stream has it as its event id." example:"3-1842-8f14e45f"`
	UpdatedAt time.Time `json:"updated_at" doc:"The time of the record."`
	AgeMS     int64     `json:"age_ms" doc:"How old the record is by the clock of the server, in milliseconds." example:"840"`
	Odds      any       `json:"odds" doc:"The value of the record."`
}

type oddsInput struct {
	Event string `path:"event" minLength:"1" maxLength:"256" doc:"The event's id." example:"ascot-1505"`
}

type oddsOutput struct{ Body OddsSnapshot }

type oddsStreamInput struct {
	Event       string `path:"event" minLength:"1" maxLength:"256" doc:"The event's id." example:"ascot-1505"`
	LastEventID string `header:"Last-Event-ID" doc:"The id of the last update that the client has seen; browsers send it by themselves."`
}

func (s *server) registerOdds(api huma.API) {
	tags := []string{"odds"}
	var security []map[string][]string
	if s.odds.Public {
		security = anonymous()
	}
	handle(s, api, huma.Operation{
		OperationID: "get-odds", Method: http.MethodGet, Path: "/v1/odds/{event}", Tags: tags, Security: security,
		Summary:     "The newest odds of an event",
		Description: "With their age: a replica that has lost sight of Kafka goes on with what it knows.",
	}, s.getOdds, oddsExamples()...)
	handle(s, api, huma.Operation{
		OperationID: "stream-odds", Method: http.MethodGet, Path: "/v1/odds/{event}/stream", Tags: tags, Security: security,
		Middlewares: huma.Middlewares{s.odds.locate},
		Summary:     "Follow the odds of an event",
		Description: "Server-sent events: odds with the newest snapshot, at once and at each change, and removed when there are none any more. " +
			"Each replaces what came before; a client that is slow gets the newest only. A comment comes when nothing else does. " +
			"Reconnect when the stream ends, with the id of the last event in Last-Event-ID, after the time that retry says.",
		Responses: map[string]*huma.Response{"200": {
			Description: "OK",
			Content:     map[string]*huma.MediaType{EventStream: {Schema: huma.SchemaFromType(api.OpenAPI().Components.Schemas, reflect.TypeFor[string]())}},
		}},
	}, s.streamOdds, oddsStreamExamples()...)
}

func (s *server) getOdds(_ context.Context, in *oddsInput) (*oddsOutput, error) {
	snapshot, err := s.odds.Board.Latest(in.Event)
	if err != nil {
		return nil, err
	}
	return &oddsOutput{Body: OddsSnapshot{
		Event: snapshot.Event, ID: snapshot.Position.String(), UpdatedAt: snapshot.At,
		AgeMS: max(0, time.Since(snapshot.At).Milliseconds()), Odds: snapshot.Odds,
	}}, nil
}

func (s *server) streamOdds(ctx context.Context, in *oddsStreamInput) (*huma.StreamResponse, error) {
	leave, err := s.odds.enter(ctx)
	if err != nil {
		return nil, err
	}
	stream, err := s.odds.Board.Stream(in.Event, relay.ParsePosition(in.LastEventID))
	if err != nil {
		leave()
		return nil, err
	}
	return &huma.StreamResponse{Body: func(hctx huma.Context) { //nolint:contextcheck // the operation's own ends when a request has to
		end := relay.EndClient
		defer func() { stream.End(end) }()
		defer leave()
		r, w := humachi.Unwrap(hctx)
		end = s.odds.send(r.Context(), w, stream)
	}}, nil
}

// addressKey is the context's key of a stream's address.
type addressKey struct{}

// locate keeps the address that a stream is asked for from.
func (o *odds) locate(hctx huma.Context, next func(huma.Context)) {
	r, _ := humachi.Unwrap(hctx)
	next(huma.WithValue(hctx, addressKey{}, httprate.CanonicalizeIP(clientIP(r, o.proxies))))
}

// enter counts a stream of the user, or of the address, until the returned function
// is called.
func (o *odds) enter(ctx context.Context) (leave func(), err error) {
	var who, whose string
	most := o.PerUser
	if o.Public {
		who, _ = ctx.Value(addressKey{}).(string)
		whose, most = "an address", o.PerAddress
	} else {
		who, whose = string(userOf(ctx)), "a user"
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.open[who] >= most {
		return nil, fault.Newf(fault.RateLimited, "%s may have %d streams open", whose, most)
	}
	o.open[who]++
	return func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		if o.open[who]--; o.open[who] == 0 {
			delete(o.open, who)
		}
	}, nil
}

// send writes a stream until it ends, and returns why.
func (o *odds) send(ctx context.Context, w http.ResponseWriter, stream *relay.Stream) relay.StreamEnd {
	out := NewEventWriter(w, o.WriteTimeout)
	if err := out.Begin(retryAfter(3 * time.Second)); err != nil {
		return endOf(err)
	}
	// Not all of those that came together shall come back together.
	age := o.MaxAge - o.MaxAge/10 + rand.N(o.MaxAge/5+1)
	open, cancel := context.WithTimeout(ctx, age)
	defer cancel()
	for {
		frame, err := stream.Next(open, o.Heartbeat)
		switch {
		case err == nil:
		case errors.Is(err, relay.ErrHeartbeat):
			frame = []byte(":\n\n")
		case errors.Is(err, relay.ErrBoardClosed):
			_ = out.Write(retryAfter(5 * time.Second))
			return relay.EndStopping
		case ctx.Err() != nil:
			return relay.EndClient
		default:
			_ = out.Write(retryAfter(time.Second))
			return relay.EndAge
		}
		if err := out.Write(frame); err != nil {
			return endOf(err)
		}
	}
}

// retryAfter asks a client to come back after a time within the given one, and
// a little: those that a stop ends must not all come at once.
func retryAfter(within time.Duration) []byte {
	return fmt.Appendf(nil, "retry: %d\n\n", (200*time.Millisecond + rand.N(within)).Milliseconds())
}

func endOf(err error) relay.StreamEnd {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return relay.EndSlow
	}
	return relay.EndClient
}

func oddsExample() []byte {
	return []byte(`[{"name":"Red Rum","imageURL":"https://cdn.example.com/red-rum.png","odds":3.5},{"name":"Arkle","imageURL":"https://cdn.example.com/arkle.png","odds":5}]`)
}

func oddsParams() map[string]any { return map[string]any{"event": "ascot-1505"} }

func oddsExamples() []example {
	return []example{
		{
			name: "odds", summary: "They are less than a second old", params: oddsParams(), status: 200,
			answer: OddsSnapshot{
				Event: "ascot-1505", ID: "3-1842-8f14e45f", UpdatedAt: exampleTime(14, 5), AgeMS: 840,
				Odds: []map[string]any{
					{"name": "Red Rum", "imageURL": "https://cdn.example.com/red-rum.png", "odds": 3.5},
					{"name": "Arkle", "imageURL": "https://cdn.example.com/arkle.png", "odds": 5},
				},
			},
		},
		{
			name: "no_odds", summary: "There are none of this event", params: map[string]any{"event": "ascot-9999"}, status: 404,
			answer: problemExample(404, errorText(relay.ErrNoOdds)),
		},
		{
			name: "odds_loading", summary: "The service has just started", params: oddsParams(), status: 503,
			answer: problemExample(503, errorText(relay.ErrOddsLoading)),
		},
	}
}

func oddsStreamExamples() []example {
	var text bytes.Buffer
	text.WriteString("retry: 2714\n\nid: 3-1842-8f14e45f\nevent: odds\ndata: {\"event\":\"ascot-1505\",\"updated_at\":\"2026-09-01T14:05:07.25Z\",\"odds\":")
	text.Write(oddsExample())
	text.WriteString("}\n\n:\n\nid: 3-1907-8f14e45f\nevent: removed\ndata: {\"event\":\"ascot-1505\"}\n\n")
	return []example{
		{name: "stream", summary: "The newest odds, a heartbeat, and their end", params: oddsParams(), status: 200, answer: text.String()},
		{
			name: "too_many_streams", summary: "This replica is full: another one may not be", params: oddsParams(), status: 503,
			answer: problemExample(503, errorText(relay.ErrTooManyStreams)),
		},
	}
}

// errorText is what a caller sees of a fault.
func errorText(err error) string {
	f, _ := errors.AsType[*fault.Error](err)
	return f.Message
}
