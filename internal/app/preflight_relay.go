package app

import (
	"strconv"
	"strings"

	"github.com/bugle-push/bugle/internal/config"
	"github.com/bugle-push/bugle/internal/preflight"
	"github.com/bugle-push/bugle/relay/bets"
)

// This file has the checks of what is between Kafka and Ably.

func (f *flight) ablyKeyPath() string {
	if f.cfg.Ably.KeyFile != "" {
		return "ably.key_file"
	}
	return "ably.key"
}

// relayUses are what the relay does on channels.
func relayUses(cfg config.Config) []preflight.AblyUse {
	uses := make([]preflight.AblyUse, 0, len(cfg.Relay))
	for _, r := range cfg.Relay {
		uses = append(uses, preflight.AblyUse{
			Resource: channelsOf(r.Channel), Operations: []string{"publish"}, Purpose: "relay the topic " + r.Topic,
		})
	}
	return uses
}

// channelsOf is the narrowest resource of a capability that has every channel
// of a template: the wildcard stands for whole segments.
func channelsOf(template string) string {
	literal, _, placed := strings.Cut(template, "#{")
	if !placed {
		return template
	}
	return literal[:strings.LastIndex(literal, ":")+1] + "*"
}

// ablyTokens looks at the key that signs the apps' tokens. A key for pushes
// signs them too, but who relays nothing will not ask for any.
func (f *flight) ablyTokens() preflight.Check {
	if f.cfg.Ably.TokenKey == "" && (f.cfg.Ably.Key == "" || len(f.cfg.Relay) == 0 && !f.cfg.Bets.Enabled) {
		return found("ably tokens")
	}
	path := f.ablyKeyPath()
	switch {
	case f.cfg.Ably.TokenKeyFile != "":
		path = "ably.token_key_file"
	case f.cfg.Ably.TokenKey != "":
		path = "ably.token_key"
	}
	uses := []preflight.AblyUse{{Resource: f.cfg.Ably.TokenOdds, Operations: []string{"subscribe", "history"}, Purpose: "give apps tokens that read odds"}}
	if f.cfg.Bets.Enabled {
		uses = append(uses, preflight.AblyUse{
			Resource: bets.ChannelPrefix + "*", Operations: []string{"publish", "presence"}, Purpose: "give apps tokens that place bets",
		})
	}
	return preflight.AblyTokens(preflight.AblyConfig{
		Key: f.cfg.Ably.TokenSecret().Reveal(), KeyPath: path, URL: f.ablyURL(), Transport: f.transport(nil), Uses: uses,
	})
}

// kafka looks at the cluster, when anything uses it.
func (f *flight) kafka() preflight.Check {
	cfg := f.cfg
	var topics []preflight.KafkaTopic
	for i, r := range cfg.Relay {
		path := "relay[" + strconv.Itoa(i) + "]"
		topics = append(topics,
			preflight.KafkaTopic{Path: path + ".topic", Name: r.Topic, Read: true},
			preflight.KafkaTopic{Path: path + ".dead_letter", Name: r.DeadLetter, Write: true})
	}
	if cfg.Odds.Enabled() {
		topics = append(topics, preflight.KafkaTopic{Path: "odds.topic", Name: cfg.Odds.Topic, Read: true})
	}
	if cfg.Bets.Enabled {
		topics = append(topics,
			preflight.KafkaTopic{Path: "bets.topic", Name: cfg.Bets.Topic, Write: true},
			preflight.KafkaTopic{Path: "bets.dead_letter_topic", Name: cfg.Bets.DeadLetterTopic, Write: true})
	}
	if !cfg.Kafka.Enabled() || len(topics) == 0 {
		return found("kafka") // nothing uses it
	}
	group := ""
	if len(cfg.Relay) > 0 {
		group = cfg.Kafka.Group
	}
	return preflight.Kafka(preflight.KafkaConfig{Cluster: kafkaCluster(cfg), Topics: topics, Group: group})
}

func (f *flight) schemaRegistry() preflight.Check {
	s := f.cfg.Kafka.SchemaRegistry
	if !s.Enabled() {
		return found("schema registry")
	}
	return preflight.Registry(preflight.RegistryConfig{
		URL: strings.TrimRight(s.URL, "/"), Username: s.Username, Password: s.Password.Reveal(), Transport: f.transport(s.CA),
	})
}
