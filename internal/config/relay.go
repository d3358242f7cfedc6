package config

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/bugle-push/bugle/relay"
)

// topicName is what Kafka takes for a topic (Kafka: Topic.validate).
var topicName = regexp.MustCompile(`^[a-zA-Z0-9._-]{1,249}$`)

// headerPrefix begins the headers that the relay sets itself.
const headerPrefix = "kafka-"

func (r *reader) relay(c *Config) {
	if c.Kafka.Enabled() && c.Kafka.Group == "" {
		r.addf("kafka.group", "is empty: the replicas would share nothing")
	}
	if len(c.Relay) == 0 {
		return
	}
	if !c.Kafka.Enabled() {
		r.addf("kafka.brokers", "missing: relay reads from them")
	}
	if !c.Ably.Enabled() && c.Ably.KeyFile == "" {
		r.addf("ably.key_file", "missing: relay publishes with it; or set %s", envName("ably.key"))
	}
	topics := map[string]int{}
	for i, route := range c.Relay {
		if _, known := topics[route.Topic]; !known {
			topics[route.Topic] = i
		}
	}
	for i, route := range c.Relay {
		r.route(fmt.Sprintf("relay[%d]", i), i, route, topics)
	}
}

// route checks one topic of the relay; topics are all of them, with where each is first.
func (r *reader) route(path string, i int, route Relay, topics map[string]int) {
	_, again := topics[route.DeadLetter]
	switch {
	case !topicName.MatchString(route.Topic):
		r.addf(path+".topic", "wants the name of a topic")
	case topics[route.Topic] != i:
		r.addf(path+".topic", "is the topic of relay[%d] too", topics[route.Topic])
	}
	switch {
	case route.DeadLetter == "":
		r.addf(path+".dead_letter", "missing: the topic for records that cannot be published, for example %s-dead-letters", route.Topic)
	case !topicName.MatchString(route.DeadLetter):
		r.addf(path+".dead_letter", "wants the name of a topic")
	case again:
		r.addf(path+".dead_letter", "is a topic that is relayed itself")
	}
	if _, err := relay.ParseChannelTemplate(route.Channel); err != nil {
		r.addf(path+".channel", "%s", err)
	}
	if _, err := relay.ParseTemplate(route.Name); err != nil {
		r.addf(path+".name", "%s", err)
	}
	if _, err := relay.ParseSuspension(route.Suspended); err != nil {
		r.addf(path+".suspended", "%s", err)
	}
	if route.MaxAge < 0 {
		r.addf(path+".max_age", "wants 0 or more")
	}
	for j, name := range route.Headers {
		if name == "" || strings.HasPrefix(name, headerPrefix) {
			r.addf(fmt.Sprintf("%s.headers[%d]", path, j), "wants the name of a record header; %s… are set by the relay", headerPrefix)
		}
	}
}
