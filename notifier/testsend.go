package notifier

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/rs/zerolog"

	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/internal/fault"
)

const (
	// TestCategory is the category of a test push.
	TestCategory = "test"
	// testTTL is how long a provider may keep a test push: whoever sends one looks at the phone now.
	testTTL = 5 * time.Minute
	// testTimeout bounds a test send, as long as a lane's send.
	testTimeout = 15 * time.Second
)

// ErrDeviceNotActive says that nothing may be sent to a device, not even a test.
var ErrDeviceNotActive error = fault.New(fault.Conflict, "the device is not active: its user or an operator deactivated it, or its target is dead")

// ErrSuppressed says that the device's user must not be sent to, not even a test.
var ErrSuppressed error = fault.New(fault.Conflict, "the device's user is suppressed: nothing is sent to them, not even a test")

// ErrNotImported says that nobody knows yet who must not be sent to.
var ErrNotImported error = fault.New(fault.Conflict, "no import of suppressions has succeeded yet: until one has, nothing is sent, not even a test")

// DeviceFinder looks a device up for an operator.
type DeviceFinder interface {
	// Find returns a device of any user, or devices.ErrUnknownDevice.
	Find(ctx context.Context, id devices.ID) (devices.Device, error)
}

// Auditor writes down what changes nothing in the database itself.
type Auditor interface {
	// Note adds an entry; its ID and At are the ledger's.
	Note(ctx context.Context, e AuditEntry) error
}

// ImportTeller tells how imports of suppressions stand.
type ImportTeller interface {
	ImportState(ctx context.Context) (ImportState, error)
}

// TesterConfig is what a Tester needs; all of it is required but Imports and Log.
type TesterConfig struct {
	Devices DeviceFinder
	Senders map[devices.Provider]Sender
	Audit   Auditor
	// Suppressions are asked whether the device's user may be sent to.
	Suppressions SuppressionReader
	// Stops are asked whether anything may be sent.
	Stops StopReader
	// Imports is asked whether anybody knows who must not be sent to; nil where no import is configured.
	Imports ImportTeller
	Log     zerolog.Logger
}

// Tester sends test pushes. They are no deliveries: nothing of them stands in
// the ledger but the audit, no gate but the device's state, its user's
// suppressions and a stop of all sending holds them back, and they wait for no pace, breaker or pause.
type Tester struct {
	devices      DeviceFinder
	senders      map[devices.Provider]Sender
	audit        Auditor
	suppressions SuppressionReader
	stops        StopReader
	imports      ImportTeller
	log          zerolog.Logger
}

// NewTester returns a Tester.
func NewTester(c TesterConfig) (*Tester, error) {
	if c.Devices == nil || len(c.Senders) == 0 || c.Audit == nil || c.Suppressions == nil || c.Stops == nil {
		return nil, errors.New("tester needs devices, senders, an audit, the suppressions and the stops")
	}
	return &Tester{
		devices: c.Devices, senders: c.Senders, audit: c.Audit, suppressions: c.Suppressions, stops: c.Stops, imports: c.Imports, log: c.Log.With().Str("component", "tester").Logger(),
	}, nil
}

// TestResult is a provider's answer to a test push.
type TestResult struct {
	Device     devices.ID
	Provider   devices.Provider
	Generation int64
	Verdict    Verdict
	Code       string
	Status     int
	ProviderID string
	Took       time.Duration
}

// TestSend sends one push to one device now and returns the provider's answer,
// whatever it is: a dead target stays as it is. It returns
// devices.ErrUnknownDevice, ErrDeviceNotActive, ErrSuppressed, ErrNotImported, ErrSendingStopped and, when nobody sends to the
// device's provider, a Conflict fault.
func (t *Tester) TestSend(ctx context.Context, by Actor, id devices.ID, title, body string) (TestResult, error) {
	d, err := t.devices.Find(ctx, id)
	if err != nil {
		return TestResult{}, err
	}
	if d.State != devices.Active {
		return TestResult{}, ErrDeviceNotActive
	}
	asked := time.Now()
	stops, err := t.stops.Stops(ctx)
	if err != nil {
		return TestResult{}, fmt.Errorf("read stops: %w", err)
	}
	if slices.ContainsFunc(stops, func(s Stop) bool { return s.Rule == "" }) {
		return TestResult{}, ErrSendingStopped
	}
	if t.imports != nil {
		state, err := t.imports.ImportState(ctx)
		if err != nil {
			return TestResult{}, fmt.Errorf("read state of imports: %w", err)
		}
		if state.SucceededAt.IsZero() {
			return TestResult{}, ErrNotImported
		}
	}
	listed, err := t.suppressions.Suppressions(ctx, SuppressionQuery{User: d.User, Limit: suppressionsOfUser})
	if err != nil {
		return TestResult{}, fmt.Errorf("read suppressions: %w", err)
	}
	for _, s := range listed {
		if s.Stops(Service, time.Now()) {
			return TestResult{}, ErrSuppressed
		}
	}
	provider := d.Target.Provider()
	sender, ok := t.senders[provider]
	if !ok {
		return TestResult{}, fault.Newf(fault.Conflict, "nothing is configured that sends through %s", provider)
	}
	// Written down before, so that nothing is ever sent without it.
	after, err := json.Marshal(map[string]any{
		"provider": provider, "generation": d.Generation, "target": d.Target.Value.String(), "user": d.User,
	})
	if err != nil {
		return TestResult{}, fmt.Errorf("encode audit entry: %w", err)
	}
	err = t.audit.Note(ctx, AuditEntry{Actor: by, Action: ActionTestSend, Subject: SubjectDevice(id), After: after})
	if err != nil {
		return TestResult{}, fmt.Errorf("audit test send: %w", err)
	}
	sendCtx, cancel := context.WithTimeout(ctx, testTimeout)
	defer cancel()
	started := time.Now()
	o := sender.Send(sendCtx, Push{Platform: d.Platform, Target: d.Target, BeginBy: asked.Add(beginAge), Message: Message{
		// A thread and a number of its own, so that it replaces nothing and a second
		// test is shown too. Negative, so that an app which keeps the largest number
		// that it has seen drops no real notification after it.
		NotificationID: NotificationID(-started.UnixMilli()), Thread: shortHash(18, "test", string(id), started.String()),
		Category: TestCategory, Urgency: High, Class: Service,
		Title: title, Body: body, ExpiresAt: started.Add(testTTL), Perishable: true,
	}})
	took := time.Since(started)
	t.log.Info().Err(o.Err).Str("device_id", string(id)).Str("sender", string(provider)).Str("verdict", string(o.Verdict)).
		Str("reason", o.Code).Int("status", o.Status).Int64("took_ms", took.Milliseconds()).
		Str("actor", by.Name).Str("request_id", by.RequestID).Msg("test push sent")
	return TestResult{
		Device: id, Provider: provider, Generation: d.Generation, Verdict: o.Verdict, Code: o.Code, Status: o.Status,
		ProviderID: o.ProviderID, Took: took,
	}, nil
}
