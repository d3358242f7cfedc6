package main

import (
	"bytes"
	"flag"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestParseOptions(t *testing.T) {
	t.Parallel()
	o, err := parseOptions([]string{"-for", "60s", "-report", "-", "-faults", "harsh", "-ports", "auto", "-seed", "7", "-users", "12", "-v"}, io.Discard)
	require.NoError(t, err)
	require.Equal(t, options{
		life: time.Minute, report: "-", faults: "harsh", ports: "auto", seed: 7, users: 12, verbose: true,
	}, o)

	o, err = parseOptions(nil, io.Discard)
	require.NoError(t, err)
	require.NotZero(t, o.seed)
	o.seed = 0
	require.Equal(t, options{faults: "mild", ports: "default", users: 40}, o)
}

func TestParseOptionsRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"-faults", "some"}, "-faults wants none, mild or harsh"},
		{[]string{"-ports", "17000"}, "-ports wants default or auto"},
		{[]string{"-users", "1"}, "-users wants 10 to 500"},
		{[]string{"-for", "-1s"}, "-for wants a positive duration"},
		{[]string{"60s"}, "takes no arguments"},
		{[]string{"-nonsense"}, "flag provided but not defined"},
	} {
		var stderr bytes.Buffer
		_, err := parseOptions(tt.args, &stderr)
		require.Error(t, err)
		require.Contains(t, stderr.String(), tt.want)
	}
	_, err := parseOptions([]string{"-h"}, io.Discard)
	require.ErrorIs(t, err, flag.ErrHelp)
}

// The only faults that strike after acceptance are harsh ones.
func TestMildNeverAcceptsAndFails(t *testing.T) {
	t.Parallel()
	for level, want := range map[string]bool{faultsNone: false, faultsMild: false, faultsHarsh: true} {
		after := false
		for _, r := range (options{faults: level}).fcmFaults().Rules {
			after = after || r.Kind.AfterAccept()
		}
		for _, r := range (options{faults: level}).ablyFaults().Rules {
			require.False(t, r.Kind.AfterAccept() && !want, level)
			after = after || r.Kind.AfterAccept()
		}
		require.Equal(t, want, after, level)
	}
	require.Zero(t, options{faults: faultsNone}.ksqlFaults())
	require.Empty(t, options{faults: faultsNone}.fcmFaults().Rules)
	require.NotZero(t, options{faults: faultsMild}.ksqlFaults().Cut)
	require.NotZero(t, options{faults: faultsMild}.ksqlFaults().InStream)
	require.Zero(t, options{faults: faultsMild}.ksqlFaults().Partial)
}

// Not parallel: it holds the sandbox's own port, or finds it held.
func TestTakenPortIsAClearError(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:17083") //nolint:noctx // a test's listener
	if err == nil {
		defer l.Close()
	}
	_, err = pickPorts(t.Context(), "default")
	require.ErrorContains(t, err, "port 17083 (FCM)")
	require.ErrorContains(t, err, "-ports auto")

	p, err := pickPorts(t.Context(), "auto")
	require.NoError(t, err)
	api := p.api
	require.Regexp(t, `^127\.0\.0\.1:[1-9]\d*$`, api)
	require.Equal(t, ports{api, "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"}, p)
}
