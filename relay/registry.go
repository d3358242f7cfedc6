package relay

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/sr"
	"golang.org/x/sync/singleflight"

	"github.com/bugle-push/bugle/internal/fault"
)

// ErrRegistry is what Registry returns while the Schema Registry gives no
// answer that could be trusted. It is temporary.
var ErrRegistry = errors.New("the schema registry gives no answer")

const (
	// registryTimeout bounds one question to the registry.
	registryTimeout = 5 * time.Second
	// registryLookup bounds a schema with all that it refers to.
	registryLookup = 15 * time.Second
	// registryBody is the most that an answer may have, in bytes.
	registryBody = 8 << 20
	// registrySchemas is how many schemas are kept.
	registrySchemas = 1000
	// registryRefusal is how long a schema counts as unknown or unusable before
	// it is looked up again: a poison record that is tried again and again asks
	// the registry no more than that.
	registryRefusal = 10 * time.Second
	// registryReferences is how many schemas one may refer to in all.
	registryReferences = 100
)

// RegistryConfig says how the Schema Registry is reached.
type RegistryConfig struct {
	// URL is its address; required.
	URL string
	// Username and Password are for Basic authentication; on Confluent Cloud an
	// API key of the registry (not the cluster's) and its secret. Empty for none.
	Username, Password string
	// TLS is nil for the system's authorities.
	TLS *tls.Config
	// Schemas is how many schemas are kept in memory; 0 means 1000.
	Schemas int
	// Registerer takes the metrics; nil keeps them unregistered.
	Registerer prometheus.Registerer
}

// Registry is the Decoder of values in Confluent's wire format: a zero byte, the
// id of the schema in four bytes, the payload. Avro and JSON Schema are decoded,
// Protobuf is refused. A schema never changes under its id, so that each is
// asked for once; while the registry does not answer, what is known decodes.
type Registry struct {
	client    *sr.Client
	transport *http.Transport
	lookups   singleflight.Group
	keep      int
	asked     *prometheus.CounterVec

	mu      sync.Mutex
	schemas map[int]*registered
	clock   uint64 // counts uses, to know which schema was used last
}

// registered is what is known about a schema id.
type registered struct {
	schema schemaDecoder
	// refused is why there is none, with the time until which that counts.
	refused *UndecodableError
	until   time.Time
	used    uint64
}

func (k *registered) answer() (schemaDecoder, error) {
	if k.refused != nil {
		return nil, k.refused
	}
	return k.schema, nil
}

// schemaDecoder turns a payload into JSON by one schema.
type schemaDecoder interface {
	decode(payload []byte) ([]byte, error)
}

// NewRegistry makes a Registry. It asks nothing yet. Close ends what it opened.
func NewRegistry(cfg RegistryConfig) (*Registry, error) {
	if cfg.URL == "" {
		return nil, fault.New(fault.Invalid, "schema registry: URL is required")
	}
	transport := &http.Transport{
		TLSClientConfig: cfg.TLS, Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true,
		MaxIdleConnsPerHost: 4, IdleConnTimeout: time.Minute, TLSHandshakeTimeout: registryTimeout,
	}
	opts := []sr.ClientOpt{
		sr.URLs(cfg.URL), sr.UserAgent(clientID),
		sr.HTTPClient(&http.Client{
			Timeout: registryTimeout, Transport: boundedAnswers{transport},
			// A redirect would take the credentials elsewhere: it is no answer.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}),
	}
	if cfg.Username != "" {
		opts = append(opts, sr.BasicAuth(cfg.Username, cfg.Password))
	}
	client, err := sr.NewClient(opts...)
	if err != nil {
		return nil, fmt.Errorf("make schema registry client: %w", err)
	}
	r := &Registry{
		client: client, transport: transport, keep: cmp.Or(cfg.Schemas, registrySchemas), schemas: map[int]*registered{},
		asked: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "bugle_schema_registry_lookups_total",
			Help: "Schemas asked for by outcome.",
		}, []string{"outcome"}),
	}
	for _, outcome := range []string{lookupFound, lookupRefused, lookupFailed} {
		r.asked.WithLabelValues(outcome)
	}
	if cfg.Registerer != nil {
		if err := cfg.Registerer.Register(r.asked); err != nil {
			return nil, fmt.Errorf("register schema registry metrics: %w", err)
		}
	}
	return r, nil
}

const (
	lookupFound   = "found"
	lookupRefused = "refused"
	lookupFailed  = "failed"
)

// Close closes idle connections to the registry.
func (r *Registry) Close() { r.transport.CloseIdleConnections() }

// Decode implements Decoder. Temporary errors are ErrRegistry or ctx's.
func (r *Registry) Decode(ctx context.Context, topic string, value []byte) ([]byte, error) {
	if len(value) == 0 || value[0] != 0 {
		return value, nil
	}
	var header sr.ConfluentHeader
	id, payload, err := header.DecodeID(value)
	if err != nil {
		return nil, &UndecodableError{Topic: topic, Reason: BadHeader, Err: errors.New("the magic byte is not followed by four bytes of a schema id")}
	}
	schema, err := r.schema(ctx, id)
	if err != nil {
		if refused, ok := errors.AsType[*UndecodableError](err); ok {
			own := *refused
			own.Topic = topic
			return nil, &own
		}
		return nil, fmt.Errorf("decode value of topic %s: %w", topic, err)
	}
	out, err := schema.decode(payload)
	if err != nil {
		return nil, &UndecodableError{Topic: topic, SchemaID: id, Reason: BadValue, Err: err}
	}
	return out, nil
}

// schema returns the schema of an id. Callers that need the same unknown one
// share the question, and none of them ends it for the others.
func (r *Registry) schema(ctx context.Context, id int) (schemaDecoder, error) {
	if known := r.known(id); known != nil {
		return known.answer()
	}
	answer := r.lookups.DoChan(fmt.Sprint(id), func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), registryLookup)
		defer cancel()
		if known := r.known(id); known != nil {
			return known.answer() // somebody has asked in between
		}
		return r.lookUp(ctx, id)
	})
	select {
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case a := <-answer:
		if a.Err != nil {
			return nil, a.Err
		}
		schema, _ := a.Val.(schemaDecoder)
		return schema, nil
	}
}

func (r *Registry) known(id int) *registered {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := r.schemas[id]
	if k == nil || k.refused != nil && time.Now().After(k.until) {
		return nil
	}
	r.clock++
	k.used = r.clock
	return k
}

// remember keeps what is known of an id, and forgets what was used longest ago
// when there is too much.
func (r *Registry) remember(id int, k *registered) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clock++
	k.used = r.clock
	r.schemas[id] = k
	for len(r.schemas) > r.keep {
		oldest := id
		for other, k := range r.schemas {
			if k.used < r.schemas[oldest].used {
				oldest = other
			}
		}
		delete(r.schemas, oldest)
	}
}

// lookUp asks the registry.
func (r *Registry) lookUp(ctx context.Context, id int) (schemaDecoder, error) {
	schema, err := r.compile(ctx, id)
	if err == nil {
		r.asked.WithLabelValues(lookupFound).Inc()
		r.remember(id, &registered{schema: schema})
		return schema, nil
	}
	if refused, ok := errors.AsType[*UndecodableError](err); ok {
		r.asked.WithLabelValues(lookupRefused).Inc()
		r.remember(id, &registered{refused: refused, until: time.Now().Add(registryRefusal)})
		return nil, refused
	}
	r.asked.WithLabelValues(lookupFailed).Inc()
	return nil, fmt.Errorf("%w: %w", ErrRegistry, err)
}

func (r *Registry) compile(ctx context.Context, id int) (schemaDecoder, error) {
	s, err := r.client.SchemaByID(ctx, id)
	if err != nil {
		if unknown(err, 40403) {
			return nil, &UndecodableError{SchemaID: id, Reason: UnknownSchema}
		}
		return nil, answerFault(err)
	}
	if s.Schema == "" {
		return nil, errors.New("the answer holds no schema")
	}
	switch s.Type {
	case sr.TypeJSON:
		return jsonValue{}, nil
	case sr.TypeAvro:
	default:
		return nil, &UndecodableError{SchemaID: id, Reason: UnsupportedSchema, Err: fmt.Errorf("%s is not decoded, only AVRO and JSON are", s.Type)}
	}
	var found references
	if err := r.references(ctx, s, &found); err != nil {
		if final, ok := errors.AsType[*UndecodableError](err); ok {
			final.SchemaID = id
		}
		return nil, err
	}
	schema, err := newAvroValue(s.Schema, found.texts)
	if err != nil {
		return nil, &UndecodableError{SchemaID: id, Reason: BadSchema, Err: err}
	}
	return schema, nil
}

// references are the schemas that one refers to, in the order in which they
// can be compiled.
type references struct {
	texts []string
	seen  map[string]bool
}

func (r *Registry) references(ctx context.Context, s sr.Schema, found *references) error {
	if found.seen == nil {
		found.seen = map[string]bool{}
	}
	for _, ref := range s.References {
		key := fmt.Sprintf("%s/%d", ref.Subject, ref.Version)
		if found.seen[key] {
			continue
		}
		found.seen[key] = true
		if len(found.seen) > registryReferences {
			return &UndecodableError{Reason: BadSchema, Err: fmt.Errorf("it refers to more than %d schemas", registryReferences)}
		}
		inner, err := r.client.SchemaByVersion(ctx, ref.Subject, ref.Version)
		if err != nil {
			if unknown(err, 40401, 40402) {
				return &UndecodableError{Reason: BadSchema, Err: fmt.Errorf("it refers to %s, version %d, which the registry does not have", ref.Subject, ref.Version)}
			}
			return answerFault(err)
		}
		if err := r.references(ctx, inner.Schema, found); err != nil {
			return err
		}
		found.texts = append(found.texts, inner.Schema.Schema)
	}
	return nil
}

// unknown tells whether the registry itself says that it has no such thing. A
// 404 without its error code comes from something else in the way, such as a
// proxy or a wrong path in the URL: it says nothing about the schema.
func unknown(err error, codes ...int) bool {
	answer, ok := errors.AsType[*sr.ResponseError](err)
	return ok && answer.StatusCode == http.StatusNotFound && slices.Contains(codes, answer.ErrorCode)
}

// answerFault is an error of the client without the body that was answered,
// which may be a whole page of something else.
func answerFault(err error) error {
	if answer, ok := errors.AsType[*sr.ResponseError](err); ok {
		return fmt.Errorf("%s %s answered %d, error code %d", answer.Method, answer.URL, answer.StatusCode, answer.ErrorCode)
	}
	return err
}

// jsonValue is the decoder of JSON Schema: the payload is JSON already, which
// its producer has held against the schema.
type jsonValue struct{}

func (jsonValue) decode(payload []byte) ([]byte, error) {
	if !json.Valid(payload) {
		return nil, errors.New("it is not JSON")
	}
	return payload, nil
}

// boundedAnswers cuts answers that are too large: what is left of them is no JSON.
type boundedAnswers struct{ next http.RoundTripper }

func (b boundedAnswers) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := b.next.RoundTrip(r)
	if err == nil {
		resp.Body = boundedBody{io.LimitReader(resp.Body, registryBody), resp.Body}
	}
	return resp, err
}

type boundedBody struct {
	io.Reader
	io.Closer
}
