package ksqlclient

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// Info describes the server.
type Info struct {
	// Version of the server, for example "8.1.0" or, before Confluent Platform 8,
	// a number of its own such as "0.29.0".
	Version string `json:"version"`
	// KafkaClusterID identifies the Kafka cluster behind the server.
	KafkaClusterID string `json:"kafkaClusterId"`
	// ServiceID is ksql.service.id, shared by the nodes of one ksqlDB cluster.
	ServiceID string `json:"ksqlServiceId"`
	// Status is RUNNING, DEGRADED or ERROR.
	Status string `json:"serverStatus"`
}

// Info asks the server what it is (GET /info). Unlike Health it needs valid
// credentials.
func (c *Client) Info(ctx context.Context) (Info, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	var reply struct {
		Info *Info `json:"KsqlServerInfo"`
	}
	err := c.reply(ctx, request{kind: KindInfo, path: "/info", accept: mediaV1}, &reply)
	if err == nil && reply.Info == nil {
		err = fmt.Errorf("%w: no server info", ErrMalformed)
	}
	if err != nil {
		return Info{}, fmt.Errorf("get server info: %w", err)
	}
	return *reply.Info, nil
}

// Health is the server's opinion of itself, at most five seconds old.
type Health struct {
	// Healthy is false when any check failed.
	Healthy bool
	// State of the server, for example "READY"; empty on older servers.
	State string
	// Checks by name, for example "kafka", "metastore", "commandRunner".
	Checks map[string]bool
}

// Health asks the server how it is (GET /healthcheck). The server answers 200
// when it is unhealthy too; that is the error ErrUnhealthy here, with the failed
// checks, so that a nil error always means healthy. While it starts the server
// answers 503: an *Error that matches ErrUnavailable. The endpoint needs no
// credentials, so a healthy answer does not prove them.
func (c *Client) Health(ctx context.Context) (Health, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	var reply struct {
		Healthy *bool  `json:"isHealthy"`
		State   string `json:"serverState"`
		Details map[string]struct {
			Healthy bool `json:"isHealthy"`
		} `json:"details"`
	}
	err := c.reply(ctx, request{kind: KindHealth, path: "/healthcheck", accept: mediaV1}, &reply)
	if err == nil && reply.Healthy == nil {
		err = fmt.Errorf("%w: no verdict", ErrMalformed)
	}
	if err != nil {
		return Health{}, fmt.Errorf("check health: %w", err)
	}
	h := Health{Healthy: *reply.Healthy, State: reply.State, Checks: make(map[string]bool, len(reply.Details))}
	var failed []string
	for name, detail := range reply.Details {
		h.Checks[name] = detail.Healthy
		if !detail.Healthy {
			failed = append(failed, name)
		}
	}
	if !h.Healthy {
		slices.Sort(failed)
		return h, fmt.Errorf("check health: %w: %s", ErrUnhealthy, c.clean(mask{}, strings.Join(failed, ", ")))
	}
	return h, nil
}
