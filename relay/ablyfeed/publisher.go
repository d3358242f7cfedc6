package ablyfeed

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/ably/ably-go/ably"

	"github.com/bugle-push/bugle/relay"
)

// Publisher publishes through ably-go. It implements relay.Publisher and is safe
// for concurrent use.
type Publisher struct {
	rest      *ably.REST
	transport *http.Transport
	redact    *strings.Replacer
}

// New makes a Publisher. It asks nothing of Ably. The error does not hold the key.
func New(cfg Config) (*Publisher, error) {
	cfg = cfg.withDefaults()
	transport := cfg.newTransport()
	options, err := cfg.options(watched{transport})
	if err != nil {
		return nil, err
	}
	rest, err := ably.NewREST(options...)
	if err != nil {
		return nil, errors.New("ably: the client cannot be made of this key and url") // its text may hold the key
	}
	return &Publisher{rest: rest, transport: transport, redact: redactor(cfg.Key)}, nil
}

// Close closes idle connections.
func (p *Publisher) Close(context.Context) error {
	p.transport.CloseIdleConnections()
	return nil
}

// Publish implements relay.Publisher.
func (p *Publisher) Publish(ctx context.Context, m relay.Message) relay.Answer {
	if ctx.Err() != nil {
		return relay.Answer{Verdict: relay.NotSent, Reason: "the time was over before it could be sent"}
	}
	message := &ably.Message{ID: m.ID, Name: m.Name, Extras: map[string]any{"headers": m.Headers}}
	switch m.Encoding {
	case relay.EncodingBytes:
		message.Data = m.Data
	default:
		message.Data, message.Encoding = string(m.Data), m.Encoding
	}
	// The SDK keeps every channel that it was asked for, until it is released.
	// There is one publish for a channel at a time.
	defer p.rest.Channels.Release(m.Channel)
	var a attempt
	err := p.rest.Channels.Get(m.Channel).PublishMultiple(a.trace(ctx), []*ably.Message{message})
	return p.answer(ctx, &a, err)
}

func (p *Publisher) answer(ctx context.Context, a *attempt, err error) relay.Answer {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err == nil {
		return relay.Answer{Verdict: relay.Accepted}
	}
	out := relay.Answer{Code: a.code, Reason: p.text(err)}
	var info *ably.ErrorInfo
	if out.Code == 0 && a.status != 0 && errors.As(err, &info) && info != nil {
		// What the SDK makes up for an answer without a readable body.
		if code := int(info.Code); (code != 40000 || a.status == http.StatusBadRequest) && (code != 50000 || a.status >= http.StatusInternalServerError) {
			out.Code = code
		}
	}
	switch {
	case a.status != 0:
		out.Verdict = verdict(a.status, out.Code)
		if out.Verdict == relay.Accepted { // accepted, and the SDK did not like the answer
			out.Verdict = relay.Unknown
		}
		if out.Code == 0 {
			out.Reason = fmt.Sprintf("status %d: %s", a.status, out.Reason)
		}
	case a.wrote:
		out.Verdict = relay.Unknown
	case a.tries == 0 && ctx.Err() == nil:
		out.Verdict = relay.Refused // the SDK cannot encode it
	default:
		out.Verdict = relay.NotSent
	}
	if a.uncertain {
		out.Verdict = relay.Unknown // another host was asked first, and may have taken it
	}
	return out
}

// maxReason bounds a reason, in bytes.
const maxReason = 300

const redacted = "[redacted]"

// secretParam is where the SDK's texts have credentials.
var secretParam = regexp.MustCompile(`(?i)\b(key|access_?token)=[^&\s"'<>]*`)

// text is an error in words, without the key and not too long.
func (p *Publisher) text(err error) string {
	text := err.Error()
	var info *ably.ErrorInfo
	if errors.As(err, &info) && info != nil {
		text = info.Message()
	}
	text = strings.ToValidUTF8(p.redact.Replace(secretParam.ReplaceAllString(text, "$1="+redacted)), "?")
	if len(text) > maxReason {
		text = text[:maxReason]
		for !utf8.ValidString(text) { // a character was cut
			text = text[:len(text)-1]
		}
	}
	return text
}

// redactor takes a key out of texts, in each form that it travels in.
func redactor(key string) *strings.Replacer {
	name, secret, _ := strings.Cut(key, ":")
	var pairs []string
	for _, s := range []string{key, secret, name} {
		for _, form := range []string{base64.StdEncoding.EncodeToString([]byte(s)), url.QueryEscape(s), url.PathEscape(s), s} {
			pairs = append(pairs, form, redacted)
		}
	}
	return strings.NewReplacer(pairs...)
}
