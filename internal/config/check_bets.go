package config

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/bugle-push/bugle/relay/bets"
)

// The bounds of a token for Ably.
const (
	minTokenTTL = Duration(time.Minute)
	maxTokenTTL = Duration(24 * time.Hour)
)

func (r *reader) bets(c *Config) {
	b := c.Bets
	for _, k := range []struct{ path, topic string }{{"bets.topic", b.Topic}, {"bets.dead_letter_topic", b.DeadLetterTopic}} {
		if !topicName.MatchString(k.topic) || k.topic == "." || k.topic == ".." {
			r.addf(k.path, "wants the name of a topic: 1 to 249 of A-Z, a-z, 0-9, . _ and -")
		}
	}
	if b.Topic == b.DeadLetterTopic {
		r.addf("bets.dead_letter_topic", "is the same as bets.topic: who reads bets would read dead letters")
	}
	if !bets.ValidStake(b.DefaultStake) {
		r.addf("bets.default_stake", `wants an amount such as "2.50": more than 0, less than 10^12, at most two decimals`)
	}
	if b.SigningKeys != "" {
		if _, err := bets.ParseKeys(b.SigningKeys.Reveal()); err != nil {
			path := "bets.signing_keys"
			if b.SigningKeysFile != "" {
				path = "bets.signing_keys_file"
			}
			r.addf(path, "%s", err)
		}
	}
	if !b.Enabled {
		return
	}
	if !c.Kafka.Enabled() {
		r.addf("kafka.brokers", "missing: bets.enabled needs a Kafka to produce them to")
	}
	if c.Database.URL == "" {
		r.addf("database.url", "missing: bets.enabled keeps bets there until Kafka has them")
	}
	if b.SigningKeys == "" && b.SigningKeysFile == "" && c.Ably.Key == "" {
		r.addf("bets.signing_keys_file", "missing: webhooks must be signed with a key that is known here; or set %s", envName("ably.key"))
	}
}

func (r *reader) ablyTokens(c *Config) {
	a := c.Ably
	r.ablyKey("ably.token_key", a.TokenKey, a.TokenKeyFile)
	if a.TokenTTL < minTokenTTL || a.TokenTTL > maxTokenTTL {
		r.addf("ably.token_ttl", "wants 1m to 24h")
	}
	if a.TokenOdds == "" || strings.HasPrefix(a.TokenOdds, "[") || a.TokenOdds == "*" || strings.HasPrefix(a.TokenOdds, "*:") {
		r.addf("ably.token_odds", "wants channels such as outbound:odds:*, not all of them")
	} else if a.TokenOdds == "inbound:*" || strings.HasPrefix(a.TokenOdds, "inbound:*:") || strings.HasPrefix(a.TokenOdds, bets.ChannelPrefix) {
		r.addf("ably.token_odds", "covers betting channels: every user could read the bets of all")
	}
}

func (r *reader) cors(c *Config) {
	for i, origin := range c.CORS.AllowedOrigins {
		path := fmt.Sprintf("cors.allowed_origins[%d]", i)
		u, err := url.Parse(origin)
		switch {
		case err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" || u.Scheme+"://"+u.Host != origin || strings.ToLower(origin) != origin:
			r.addf(path, "wants an origin such as https://bets.example.com: scheme, host in lower case and port, nothing else")
		case u.Scheme == "http" && c.Env != Dev:
			r.addf(path, "is http: whoever sits in between could act for every user; use https, unless env is dev")
		}
	}
}
