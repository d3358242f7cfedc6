package relay_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/internal/logtest"
	"github.com/bugle-push/bugle/relay"
	"github.com/bugle-push/bugle/relay/ablyfeed"
)

// relayVariable makes of this test program a relay: it holds its settings.
const relayVariable = "BUGLE_TEST_RELAY"

// relaySettings are what a relay in a process of its own is started with.
type relaySettings struct {
	Brokers       []string
	Group         string
	Every, Newest string // topics: of one every record is published, of the other the newest
	Dead          string
	Key, URL      string // of Ably
	Progress      string // where it is kept
	Session       time.Duration
}

// relayMain runs a relay until its standard input ends, which it does with the
// test. One line there ends it in good order.
func relayMain(text string) int {
	log := zerolog.New(os.Stderr).With().Timestamp().Logger()
	if err := runRelay(log, text); err != nil {
		log.Error().Err(err).Msg("the relay ends")
		return 1
	}
	return 0
}

func runRelay(log zerolog.Logger, text string) error {
	var s relaySettings
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return err
	}
	publisher, err := ablyfeed.New(ablyfeed.Config{Key: s.Key, URL: s.URL})
	if err != nil {
		return err
	}
	channel, err := relay.ParseChannelTemplate("#{topic}:#{key}")
	if err != nil {
		return err
	}
	f, err := relay.NewFeed(relay.FeedConfig{
		Cluster: relay.Cluster{Brokers: s.Brokers}, Group: s.Group,
		Routes: []relay.Route{
			{Topic: s.Every, Channel: channel, DeadLetter: s.Dead},
			{Topic: s.Newest, Channel: channel, DeadLetter: s.Dead, Conflate: true},
		},
		Publisher: publisher, Progress: remote{s.Progress}, ChannelRate: 1000, SessionTimeout: s.Session, CommitEvery: 100 * time.Millisecond,
		Log: log,
	})
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		if n, _ := os.Stdin.Read(make([]byte, 1)); n == 0 {
			os.Exit(2) // the test is gone
		}
		stop()
	}()
	return f.Run(ctx)
}

// relayProcess is a relay in a process of its own.
type relayProcess struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	log   *logtest.Buffer
	ended chan error
}

func startRelay(t *testing.T, s relaySettings) *relayProcess {
	t.Helper()
	settings, err := json.Marshal(s)
	require.NoError(t, err)
	p := &relayProcess{cmd: exec.CommandContext(t.Context(), os.Args[0]), log: &logtest.Buffer{}, ended: make(chan error, 1)}
	p.cmd.Env = append(os.Environ(), relayVariable+"="+string(settings))
	p.cmd.Stderr = p.log
	p.stdin, err = p.cmd.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, p.cmd.Start())
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.ended <- p.cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // where it has not ended
		<-done
		if t.Failed() {
			t.Logf("relay %d:\n%s", p.cmd.Process.Pid, p.log)
		}
	})
	return p
}

// kill ends it at once.
func (p *relayProcess) kill(t *testing.T) {
	t.Helper()
	require.NoError(t, p.cmd.Process.Kill())
	<-p.ended
}

// stop ends it in good order.
func (p *relayProcess) stop(t *testing.T) {
	t.Helper()
	_, err := p.stdin.Write([]byte("\n"))
	require.NoError(t, err)
	select {
	case err := <-p.ended:
		require.NoError(t, err)
	case <-time.After(time.Minute):
		require.Fail(t, "the relay does not stop")
	}
}

// remote is a Progress that the test keeps for its relays.
type remote struct{ url string }

// progressCall is one call of it.
type progressCall struct {
	Source string       `json:",omitempty"`
	End    int64        `json:",omitempty"`
	Use    []string     `json:",omitempty"`
	Save   []relay.Mark `json:",omitempty"`
	Below  int64        `json:",omitempty"`
}

func (r remote) call(ctx context.Context, c progressCall, answer any) error {
	body, err := json.Marshal(c)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("progress: status %d", resp.StatusCode)
	}
	return json.NewDecoder(resp.Body).Decode(answer)
}

func (r remote) Open(ctx context.Context, source string, end int64) (out map[string]relay.Mark, err error) {
	return out, r.call(ctx, progressCall{Source: source, End: end}, &out)
}

func (r remote) Use(ctx context.Context, sources []string) error {
	return r.call(ctx, progressCall{Use: sources}, &struct{}{})
}

func (r remote) Save(ctx context.Context, marks []relay.Mark) error {
	return r.call(ctx, progressCall{Save: marks}, &struct{}{})
}

func (r remote) Forget(ctx context.Context, source string, below int64) error {
	return r.call(ctx, progressCall{Source: source, Below: below}, &struct{}{})
}

// serve answers a remote out of m.
func (m *memory) serve(w http.ResponseWriter, r *http.Request) {
	var c progressCall
	err := json.NewDecoder(r.Body).Decode(&c)
	var answer any = struct{}{}
	switch {
	case err != nil:
	case c.Save != nil:
		err = m.Save(r.Context(), c.Save)
	case c.Below > 0:
		err = m.Forget(r.Context(), c.Source, c.Below)
	case c.Use != nil:
		err = m.Use(r.Context(), c.Use)
	default:
		answer, err = m.Open(r.Context(), c.Source, c.End)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	_ = json.NewEncoder(w).Encode(answer)
}
