package relay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// refusal is why a record goes to the dead-letter topic.
type refusal struct{ code, reason string }

// preparer makes messages of records.
type preparer struct {
	decoder  Decoder
	maxBytes int
	retry    func(n int) time.Duration
	warn     func(err error)
}

// prepare makes a record's message; why is set when none can be made of it. While it
// has to wait it tells waits why, and nil when that is over. The error is that of
// ctx, which ended first.
func (pr *preparer) prepare(
	ctx context.Context, route *Route, id string, r *kgo.Record, waits func(error),
) (m Message, suspended bool, why *refusal, err error) {
	d := &document{record: r, data: r.Value}
	if pr.decoder != nil {
		if d.data, why, err = pr.decode(ctx, r, waits); why != nil || err != nil {
			return Message{}, false, why, err
		}
	}
	suspended = route.Suspended.marks(d)
	refuse := func(code string, err error) (Message, bool, *refusal, error) {
		return Message{Channel: m.Channel}, suspended, &refusal{code, err.Error()}, nil
	}
	if m.Channel, err = route.Channel.execute(d); err != nil {
		m.Channel = ""
		return refuse(codeTemplate, fmt.Errorf("channel: %w", err))
	}
	if err := checkChannel(m.Channel); err != nil {
		return refuse(codeChannelName, err)
	}
	if m.Name, err = route.Name.execute(d); err != nil {
		return refuse(codeTemplate, fmt.Errorf("name: %w", err))
	}
	m.ID, m.Data, m.Encoding, m.Headers = id, d.data, encodingOf(d.data), headersOf(r, route.Headers)
	size, err := m.size()
	if err != nil {
		return refuse(codeTemplate, err)
	}
	if size > pr.maxBytes {
		return refuse(codeTooLarge, fmt.Errorf("the message has %d bytes, at most %d are taken", size, pr.maxBytes))
	}
	return m, suspended, nil, nil
}

// decode asks the decoder until it knows.
func (pr *preparer) decode(ctx context.Context, r *kgo.Record, waits func(error)) ([]byte, *refusal, error) {
	waited := false
	defer func() {
		if waited {
			waits(nil)
		}
	}()
	for n := 1; ; n++ {
		data, err := pr.decoder.Decode(ctx, r.Topic, r.Value)
		switch {
		case err == nil:
			return data, nil, nil
		case ctx.Err() != nil:
			return nil, nil, ctx.Err()
		}
		if bad, final := errors.AsType[*UndecodableError](err); final {
			return nil, &refusal{string(bad.Reason), err.Error()}, nil
		}
		waited = true
		waits(fmt.Errorf("values cannot be decoded: %w", err))
		if n == 1 {
			pr.warn(err)
		}
		if err := pause(ctx, pr.retry(n)); err != nil {
			return nil, nil, err
		}
	}
}

// pause waits; the error is that of ctx, which ended first.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
