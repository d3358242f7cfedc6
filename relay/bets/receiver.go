package bets

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/bugle-push/bugle/internal/fault"
)

// ReceiverConfig is what a Receiver needs.
type ReceiverConfig struct {
	// Book keeps what comes; required.
	Book Book
	// Keys verify the signatures; required, at least one.
	Keys Keys
	// DefaultStake is that of a bet which names none: see ValidStake.
	DefaultStake string
	// AllowAnonymous takes bets whose publisher is not known as the channel's user, and marks
	// them. False makes them dead letters.
	AllowAnonymous bool
	// Wake is called after each commit that leaves something to produce; nil for nobody.
	Wake func()
	// Metrics counts; required.
	Metrics *Metrics
	Log     zerolog.Logger
}

// Receiver takes webhooks.
type Receiver struct {
	book    Book
	keys    Keys
	policy  policy
	wake    func()
	metrics *Metrics
	log     zerolog.Logger
}

// NewReceiver returns a Receiver, or an Invalid fault that names what is missing.
func NewReceiver(cfg ReceiverConfig) (*Receiver, error) {
	if cfg.Book == nil || len(cfg.Keys.byName) == 0 || cfg.Metrics == nil {
		return nil, fault.New(fault.Invalid, "bets: Book, Keys and Metrics are required")
	}
	if !ValidStake(cfg.DefaultStake) {
		return nil, fault.Newf(fault.Invalid, "bets: DefaultStake %q is no stake", cfg.DefaultStake)
	}
	if cfg.Wake == nil {
		cfg.Wake = func() {}
	}
	return &Receiver{
		book: cfg.Book, keys: cfg.Keys, wake: cfg.Wake, metrics: cfg.Metrics,
		policy: policy{defaultStake: json.Number(cfg.DefaultStake), allowAnonymous: cfg.AllowAnonymous},
		log:    cfg.Log.With().Str("component", "bets").Logger(),
	}, nil
}

// Delivery is one request of Ably.
type Delivery struct {
	// Key names the key of the signature, as X-Ably-Key does.
	Key string
	// Signature is X-Ably-Signature.
	Signature string
	// ContentType is that of the body: MessagePack where it says so, else JSON. It is not signed,
	// and does no more than choose how the body is read.
	ContentType string
	// Body is what came, byte for byte.
	Body []byte
}

// The verdicts about requests: the label of a metric.
const (
	verdictTaken     = "taken"
	verdictKey       = "unknown_key"
	verdictSignature = "bad_signature"
	verdictFailed    = "failed"
)

// Admit tells whether a request may be read at all: nil when it names a known key
// and has a signature, else the Unauthorized fault that Receive would return. It
// counts what it refuses.
func (r *Receiver) Admit(key, signature string) error {
	switch {
	case !r.keys.Knows(key):
		r.refused(verdictKey)
		return fault.New(fault.Unauthorized, "X-Ably-Key names no key that webhooks are signed with here")
	case strings.TrimSpace(signature) == "":
		r.refused(verdictSignature)
		return fault.New(fault.Unauthorized, "X-Ably-Signature is missing: choose a signing key for the webhook, and batched requests")
	}
	return nil
}

// Receive takes a webhook: nil when all of it is kept, and Ably need not send it
// again. It returns an Unauthorized fault for a signature that is not good, before
// anything is parsed, and an Unavailable one when it could not be kept: Ably tries
// again.
func (r *Receiver) Receive(ctx context.Context, d Delivery) error {
	if err := r.Admit(d.Key, d.Signature); err != nil {
		return err
	}
	if !r.keys.verify(d.Key, d.Signature, d.Body) {
		r.refused(verdictSignature)
		return fault.New(fault.Unauthorized, "X-Ably-Signature does not fit the body and the key")
	}
	body := d.Body
	if strings.Contains(d.ContentType, "msgpack") {
		var err error
		if body, err = fromMsgpack(body); err != nil {
			body = d.Body // no JSON either: it becomes a dead letter
		}
	}
	found := r.policy.parse(body, time.Now())
	taken, err := r.book.Take(ctx, found.rows, found.sightings)
	if err != nil {
		r.metrics.webhooks.WithLabelValues(verdictFailed).Inc()
		if ctx.Err() != nil {
			return err
		}
		return fault.Wrap(fault.Unavailable, err, "the database did not take it; try again")
	}
	r.metrics.webhooks.WithLabelValues(verdictTaken).Inc()
	r.count(found, taken)
	if len(taken.New) > 0 {
		r.wake()
	}
	return nil
}

func (r *Receiver) refused(verdict string) {
	r.metrics.webhooks.WithLabelValues(verdict).Inc()
}

func (r *Receiver) count(found parsed, taken Taken) {
	authenticated := make(map[[2]string]bool, len(found.rows))
	for _, row := range found.rows {
		authenticated[[2]string{row.Channel, row.MessageID}] = row.Authenticated
	}
	dead := 0
	for _, row := range taken.New {
		if row.Kind == KindBet {
			r.metrics.accepted.WithLabelValues(boolLabel(authenticated[[2]string{row.Channel, row.MessageID}])).Inc()
			continue
		}
		dead++
		r.metrics.refused.WithLabelValues(string(row.Reason)).Inc()
	}
	r.metrics.duplicates.Add(float64(taken.Duplicates))
	r.metrics.sightings.Add(float64(len(found.sightings)))
	for why, n := range found.ignored {
		r.metrics.ignored.WithLabelValues(why).Add(float64(n))
	}
	if dead > 0 {
		r.log.Info().Int("count", dead).Msg("messages taken that are no bets: see the topic of dead letters")
	}
}

func boolLabel(b bool) string {
	if b {
		return "true"
	}
	return "false"
}
