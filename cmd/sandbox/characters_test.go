package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// answers are what bugle has to say about each character, whatever the seed.
var answers = map[string][]string{
	muted: {
		`^Notification \d+: race-soon \["race-\d{4}"\], version 1, for everybody\n`,
		`\nDelivery \d+ to user-muted-phone of user-muted, through fcm: suppressed \(muted\)\n  Not told: the category is muted: user-muted has muted race\.\n`,
		`muted stopped \(muted\)`,
	},
	asleep: {
		`^Notification \d+: race-soon \["race-\d{4}"\], version 1, for everybody\n`,
		`\nDelivery \d+ to user-asleep-phone of user-asleep, through fcm: expired \(quiet_hours\)\n  Not told: .*quiet`,
		`quiet_hours stopped \(quiet_hours\)`,
	},
	uninstalled: {
		`\nDelivery \d+ to user-uninstalled-phone of user-uninstalled, through fcm: gone \(unregistered\)\n  Not told: fcm said at .* that the device's target is dead \(unregistered: the app has been removed, or its push token replaced\)\. Nothing reaches it until the app activates it again\.\n`,
		`\n  attempt \d+ at .*: gone \(unregistered\) 404\n`,
	},
	corrected: {
		`^Notification \d+: bet-settled \["[^"]+"\], version [2-9] \((WON|LOST|DEAD_HEAT)\), for user-corrected\n`,
		`\n  “Result changed” “Car \d in .*”\n    on user-corrected-phone, en-GB, as a correction\n`,
		// What took its place, and what it had said.
		`\n  \* \d+: bet-settled, version [2-9] \((WON|LOST|DEAD_HEAT)\), released, made .*\n(?:    \d+: .*\n)*    \d+: bet-settled, version [1-9] \((WON|LOST)\), released, made `,
		`\n  Told as a correction, because this device had been told, or may have been, what was wrong: fcm took it at `,
	},
}

// goRun is the environment in which go run compiles as this test was compiled: what
// is built then has been, and only has to be linked.
func goRun(t *testing.T) []string {
	t.Helper()
	info, ok := debug.ReadBuildInfo()
	require.True(t, ok)
	env := os.Environ()
	var flags []string
	for _, s := range info.Settings {
		switch {
		case s.Key == "-race" && s.Value == "true":
			flags = append(flags, s.Key)
		case s.Key == "-gcflags" && s.Value != "":
			flags = append(flags, s.Key+"="+s.Value)
		case s.Key == "CGO_ENABLED":
			env = append(env, s.Key+"="+s.Value)
		}
	}
	return append(env, "GOFLAGS="+strings.Join(flags, " "))
}

// typesAtTheRoot runs a command in the directory of the module.
func typesAtTheRoot(t *testing.T, command string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, tool(t, "sh"), "-c", command)
	cmd.Dir, cmd.Env = filepath.Join("..", ".."), goRun(t)
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	said, err := cmd.Output()
	require.NoError(t, err, "%s\n%s", command, complaints.String())
	return string(said)
}

// asksWhy runs the commands that the story prints as they stand there, each as soon
// as it does.
func (g *guest) asksWhy(t *testing.T) {
	for user, wanted := range answers {
		t.Run(user, func(t *testing.T) {
			t.Parallel()
			command := g.told.await(t, 0, `(?m)^\d\d:\d\d  `+user+` .*\. Why\? (go run \./cmd/bugle explain .* --user `+user+` \d+)$`, 4*time.Minute)[1]
			said := typesAtTheRoot(t, command)
			for _, want := range wanted {
				require.Regexp(t, want, said, command)
			}
		})
	}
}

func TestNamesOfFilesAreQuotedForAShell(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"/tmp/bugle-sandbox-1/admin-token", "/tmp/a b/admin-token", "/tmp/it's/$HOME/x"} {
		said, err := exec.CommandContext(t.Context(), tool(t, "sh"), "-c", "printf %s "+quoted(name)).Output()
		require.NoError(t, err)
		require.Equal(t, name, string(said))
	}
	require.Equal(t, "/tmp/plain-1/x", quoted("/tmp/plain-1/x"))
}
