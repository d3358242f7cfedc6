package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/bugle-push/bugle/internal/logtest"
	"github.com/bugle-push/bugle/sandbox/betting"
)

// What the docs tell somebody new to type is typed here, word for word, but for the
// ports. In the end the sandbox must have found nothing wrong, and end in time.
func TestAGuestTakesPart(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes a minute of real time")
	}
	typesAtTheRoot(t, "go run ./cmd/bugle version") // compiled before anybody minds the time
	told := &output{}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan int, 1)
	// No faults: they are for those who try again, and these commands do it once.
	go func() {
		ended <- run(ctx, []string{"-ports", "auto", "-faults", "none", "-seed", "11", "-users", aFew}, told, told)
	}()
	g := newGuest(t, told)

	t.Run("with", func(t *testing.T) {
		t.Run("the commands of the README", func(t *testing.T) {
			t.Parallel()
			g.typesWhatTheReadmeSays(t)
		})
		t.Run("what the story says to ask", func(t *testing.T) {
			t.Parallel()
			g.asksWhy(t)
		})
		t.Run("ably-js", func(t *testing.T) {
			t.Parallel()
			g.runsTheScript(t)
		})
	})

	began := time.Now()
	cancel()
	select {
	case code := <-ended:
		require.Zero(t, code, told.String())
	case <-time.After(drainAtMost + 15*time.Second):
		require.FailNow(t, "the sandbox does not end", told.String())
	}
	t.Logf("ended within %v", time.Since(began).Truncate(time.Millisecond))
}

// output is what the sandbox prints.
type output struct{ logtest.Buffer }

// await waits until what is printed after the first from bytes fits, and returns the
// groups of the match.
func (o *output) await(t *testing.T, from int, pattern string, most time.Duration) []string {
	t.Helper()
	fits := regexp.MustCompile(pattern)
	var found []string
	require.Eventually(t, func() bool {
		found = fits.FindStringSubmatch(o.String()[from:])
		return found != nil
	}, most, 20*time.Millisecond, "the sandbox never said %s", pattern)
	return found
}

// guest is somebody new, who has started the sandbox and read what it prints.
type guest struct {
	told      *output
	addresses *strings.Replacer // the ports of the docs → those of this sandbox
	broker    string
	env       []string // NAME=value
}

func newGuest(t *testing.T, told *output) *guest {
	t.Helper()
	g := &guest{told: told}
	for _, name := range []string{"TOKEN", "TARGET", "ADMIN_TOKEN"} {
		g.env = append(g.env, name+"="+told.await(t, 0, `(?m)^    `+name+`=(\S+)$`, time.Minute)[1])
	}
	const at = `(127\.0\.0\.1:\d+)`
	g.broker = told.await(t, 0, `kcat -b `+at+` -L`, time.Minute)[1]
	g.addresses = strings.NewReplacer(
		"127.0.0.1:17080", told.await(t, 0, `http://`+at+`/v1/devices`, time.Minute)[1],
		"127.0.0.1:17081", told.await(t, 0, `http://`+at+`/admin/v1/rules`, time.Minute)[1],
		"127.0.0.1:17084", told.await(t, 0, `http://`+at+`/sse`, time.Minute)[1],
		"127.0.0.1:17092", g.broker,
	)
	return g
}

// race waits for a race that has just been announced, and can be bet on for 20 s or
// more.
func (g *guest) race(t *testing.T) string {
	t.Helper()
	return g.told.await(t, len(g.told.String()), `\((race-\d{4})\) at .* starts in \d+ s`, 2*time.Minute)[1]
}

// section returns what stands under a heading of a document, up to the next one of
// its level.
func section(t *testing.T, file, heading string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", file))
	require.NoError(t, err)
	_, rest, found := strings.Cut(string(text), "\n## "+heading+"\n")
	require.True(t, found, "%s has no %q", file, heading)
	rest, _, _ = strings.Cut(rest, "\n## ")
	return rest
}

// blocks returns the fenced blocks of a language, joined.
func blocks(t *testing.T, text, language string) string {
	t.Helper()
	var all []string
	for _, m := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```$").FindAllStringSubmatch(text, -1) {
		all = append(all, m[1])
	}
	require.NotEmpty(t, all)
	return strings.Join(all, "\n")
}

// tool skips the test where a program is not installed.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skip("a guest of the sandbox: ", name, " is not installed")
	}
	return path
}

// expected is what the commands of the README that contain a text print.
var expected = []struct{ command, output string }{
	{"/activate", `"id":"my-phone".*"state":"active"`},
	{"/v1/devices -H", `"devices":\[\{"id":"my-phone"`},
	{"/v1/notifications", `"notifications":\[\{"id"`}, // when the phone has shown something
	{"/admin/v1/rules", `"id":"bet-rejected"`},
	{" -L", `topic "odds" with \d+ partitions`},
	{"-t odds", `race-\d{4} \[\{"name":"Car 1"`},
	{"/stream", `data: \{.*"odds":\[\{"name":"Car 1"`},
	{"/v1/odds/", `"odds":\[\{"name":"Car 1"`},
	{"/sse", `data: \[\{"name":"Car 1"`},
	{"/messages", `"channel":"inbound:betting:cars:guest"`},
	{"/deactivate", `^$`},
}

// typesWhatTheReadmeSays runs each command of the README's "Take part" in turn, with
// the variables that those before it have set.
func (g *guest) typesWhatTheReadmeSays(t *testing.T) {
	for _, name := range []string{"sh", "curl", "kcat"} {
		tool(t, name)
	}
	env, typed := g.env, map[string]bool{}
	var command string
	text, _, found := strings.Cut(section(t, "README.md", "Take part"), "\nMore for the sandbox")
	require.True(t, found)
	for line := range strings.Lines(blocks(t, text, "sh")) {
		line = strings.TrimRight(line, "\n")
		if command == "" && (line == "" || strings.HasPrefix(line, "#")) {
			continue
		}
		command += line
		if strings.HasSuffix(line, `\`) {
			command += "\n"
			continue
		}
		line, command = g.addresses.Replace(command), ""
		name, value, isSetting := strings.Cut(line, "=")
		switch {
		case !isSetting || !regexp.MustCompile(`^[A-Z_]+$`).MatchString(name):
			typed[g.types(t, line, env)] = true
		case name == "RACE":
			env = append(env, "RACE="+g.race(t))
		case strings.HasPrefix(value, "…"): // the sandbox has printed it
		default:
			got := shell(t, line+`; printf %s "$`+name+`"`, env, `.`)
			env = append(env, name+"="+got)
		}
	}
	for _, e := range expected {
		require.True(t, typed[e.command], "nothing in the README does %s", e.command)
	}
	awaitBet(t, g.broker, "guest", "25.00")
}

// types runs one command, and returns what it is expected by.
func (g *guest) types(t *testing.T, command string, env []string) string {
	t.Helper()
	for _, e := range expected {
		if strings.Contains(command, e.command) {
			if e.command == "/v1/notifications" {
				g.told.await(t, 0, `your phone shows: “.*” “.*”`, 2*time.Minute)
				// The push is there before the service has noted that it is.
				awaitShell(t, command, env, `"id"`)
			}
			if e.command == "/v1/odds/" { // a race that has just been entered has none for a moment
				awaitShell(t, command, env, `"odds":`)
			}
			shell(t, command, env, e.output)
			return e.command
		}
	}
	require.Fail(t, "nobody knows what this has to print", command)
	return ""
}

// awaitShell runs a command again until it prints a text, for a while.
func awaitShell(t *testing.T, command string, env []string, want string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !strings.Contains(shell(t, command, env, ""), want) && time.Now().Before(deadline); {
		time.Sleep(50 * time.Millisecond)
	}
}

// shell runs a command until it ends, or goes on and has printed what was wanted. It
// returns what it has printed.
func shell(t *testing.T, command string, env []string, want string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	// What follows a stream has to end with the shell that began it.
	cmd := exec.CommandContext(ctx, "sh", "-c", strings.Replace(command, "kcat ", "exec kcat ", 1))
	cmd.Env = append(os.Environ(), env...)
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	fits := regexp.MustCompile(want)
	var text strings.Builder
	for sc := bufio.NewScanner(out); sc.Scan(); {
		text.WriteString(sc.Text() + "\n")
		if fits.MatchString(sc.Text()) && strings.Contains(command, " -C ") {
			cancel()
		}
	}
	_ = cmd.Wait() // what it has printed says more than its status
	got := strings.TrimSuffix(text.String(), "\n")
	require.Regexp(t, want, got, "%s\n%s", command, complaints.String())
	return got
}

// runsTheScript runs docs/bets.md's script, as it stands there and with the
// parameters that the demo's app attaches with. A bet that comes after the odds have
// moved is rejected, and then another race is tried.
func (g *guest) runsTheScript(t *testing.T) {
	node, npm := tool(t, "node"), tool(t, "npm")
	doc := section(t, "docs/bets.md", "See it with ably-js")
	script, commands := blocks(t, doc, "js"), blocks(t, doc, "sh")
	install := regexp.MustCompile(`(?m)^npm install (\S+)$`).FindStringSubmatch(commands)
	require.NotNil(t, install)
	require.Regexp(t, `(?m)^TOKEN=… RACE=race-0002 node bet\.cjs$`, commands)

	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, npm, "install", "--prefix", dir, "--no-audit", "--no-fund", "--prefer-offline", "--ignore-scripts", install[1])
	cmd.Env = append(os.Environ(), "npm_config_update_notifier=false")
	if out, err := cmd.CombinedOutput(); err != nil {
		last, _, _ := strings.Cut(string(bytes.TrimSpace(out)), "\n")
		t.Skip("a guest of the sandbox: ably-js cannot be installed from the npm registry: ", last)
	}
	const plain, delta = `{params: {rewind: '1'}}`, `{params: {rewind: '1', delta: 'vcdiff'}}`
	require.Contains(t, script, plain)
	for name, text := range map[string]string{"bet.cjs": script, "delta.cjs": strings.Replace(script, plain, delta, 1)} {
		file := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		var said []byte
		var err error
		for range 6 {
			if said, err = g.bets(t, node, file); err == nil {
				break
			}
		}
		require.NoError(t, err, "%s: %s", name, said)
		// Odds that somebody else has moved may come before Ably has said that it has the bet.
		for _, line := range []string{`guest has bet 1000 on Car \d at \S+`, `Car \d is at \S+`, `Car \d fell from \S+ to \S+`} {
			require.Regexp(t, `(?m)^`+line+`$`, string(said), name)
		}
	}
	awaitBet(t, g.broker, "guest", "1000")
}

func (g *guest) bets(t *testing.T, node, file string) ([]byte, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, node, file)
	_, port, err := net.SplitHostPort(g.addresses.Replace("127.0.0.1:17084"))
	require.NoError(t, err)
	cmd.Env = append(append(os.Environ(), g.env...), "RACE="+g.race(t), "API=http://"+g.addresses.Replace("127.0.0.1:17080"), "ABLY_PORT="+port)
	return cmd.CombinedOutput()
}

// awaitBet waits for a user's bet with that stake in Kafka.
func awaitBet(t *testing.T, broker, user, stake string) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(broker), kgo.ConsumeTopics(betting.TopicBets),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(50*time.Millisecond))
	require.NoError(t, err)
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for ctx.Err() == nil {
		for _, r := range client.PollFetches(ctx).Records() {
			var bet struct {
				User          string `json:"user_id"`
				Authenticated bool
				Stake         json.Number
			}
			require.NoError(t, json.Unmarshal(r.Value, &bet))
			if bet.User == user && bet.Stake.String() == stake {
				require.True(t, bet.Authenticated)
				return
			}
		}
	}
	require.Fail(t, "the bet is not in Kafka", "%s %s", user, stake)
}
