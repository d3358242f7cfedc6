package config_test

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/internal/config"
)

const relayBase = `
env: dev
kafka: {brokers: ['127.0.0.1:9092'], tls: false}
`

func TestRelay(t *testing.T) {
	t.Parallel()
	environ := []string{"BUGLE_ABLY_KEY=" + ablyKey}
	c, err := config.Parse([]byte(relayBase+`
relay:
  - {topic: odds, channel: 'outbound:odds:#{key}', dead_letter: odds-dead, max_age: 30s, headers: [trace], suspended: 'value.status=SUSPENDED'}
  - {topic: results, channel: 'results:#{value.event.id}', name: '#{header.kind}', dead_letter: odds-dead, conflate: false}
`), environ)
	require.NoError(t, err)
	require.Len(t, c.Relay, 2)
	require.True(t, c.Relay[0].Conflates())
	require.Equal(t, config.Duration(30*time.Second), c.Relay[0].MaxAge)
	require.False(t, c.Relay[1].Conflates())
	require.Equal(t, "bugle-relay", c.Kafka.Group)

	text, err := c.YAML()
	require.NoError(t, err)
	require.Contains(t, text, "dead_letter: odds-dead")
	require.Contains(t, text, "max_age: 30s")

	_, err = config.Parse([]byte(relayBase+`
relay:
  - {topic: odds, chanel: x, channel: ':#{key}', dead_letter: odds, suspended: key, headers: [kafka-offset], max_age: 30}
  - {topic: odds, channel: '#{value}', name: '#{key', dead_letter: ''}
  - {topic: 'a b', channel: '#{colour}', dead_letter: 'a b', name: '#{header.}'}
`), environ)
	require.Equal(t, map[string]string{
		"relay[0].chanel":      "unknown key; did you mean relay[0].channel?",
		"relay[0].max_age":     "wants a duration such as 30d, got a whole number",
		"relay[0].channel":     `a channel's name does not begin with ":"`,
		"relay[0].dead_letter": "is a topic that is relayed itself",
		"relay[0].suspended":   "wants value.FIELD or header.NAME",
		"relay[0].headers[0]":  "wants the name of a record header; kafka-… are set by the relay",
		"relay[1].topic":       "is the topic of relay[0] too",
		"relay[1].channel":     "#{value}: wants a field: value.FIELD",
		"relay[1].name":        "#{key is not closed by }",
		"relay[1].dead_letter": "missing: the topic for records that cannot be published, for example odds-dead-letters",
		"relay[2].topic":       "wants the name of a topic",
		"relay[2].channel":     "#{colour}: is none of topic, partition, key, key.FIELD, value.FIELD, header.NAME",
		"relay[2].name":        "#{header.}: wants a name: header.NAME",
		"relay[2].dead_letter": "wants the name of a topic",
	}, fields(t, err))

	_, err = config.Parse([]byte("relay: [{topic: odds, channel: c, dead_letter: d}]\nkafka: {group: ''}"), nil)
	require.Equal(t, map[string]string{
		"kafka.brokers (BUGLE_KAFKA_BROKERS)": "missing: relay reads from them",
		"ably.key_file (BUGLE_ABLY_KEY_FILE)": "missing: relay publishes with it; or set BUGLE_ABLY_KEY",
	}, fields(t, err))
}

// The keys of a list's elements are in no generated table.
func TestRelayKeysAreDocumented(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "relay.md"))
	require.NoError(t, err)
	for field := range reflect.TypeFor[config.Relay]().Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("yaml"), ",")
		require.Contains(t, string(text), "\n| `"+name+"` |", name)
	}
}
