package racing

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// StatusError is an answer of the service that is not a success.
type StatusError struct {
	// Operation is the method and the path.
	Operation string
	// Status is the HTTP status.
	Status int
	// Problem is the beginning of the answer's body.
	Problem string
}

// Error names the operation and the status.
func (e *StatusError) Error() string {
	return fmt.Sprintf("%s answered %d: %s", e.Operation, e.Status, e.Problem)
}

// ClientConfig configures a Client.
type ClientConfig struct {
	// URL is the base of the API, "http://127.0.0.1:17080".
	URL string
	// Secret signs the users' tokens with HS256.
	Secret []byte
	// Timeout bounds one request. Zero means 5 s.
	Timeout time.Duration
}

// Client is the app side of the service: it activates devices and sets
// preferences through the HTTP API, each request with its user's own token. It
// tries again what the service could not answer. It is safe for concurrent use.
type Client struct {
	cfg  ClientConfig
	http *http.Client
}

// NewClient returns a client; it opens no connection.
func NewClient(cfg ClientConfig) *Client {
	if cfg.Timeout == 0 {
		cfg.Timeout = 5 * time.Second
	}
	return &Client{cfg: cfg, http: &http.Client{Timeout: cfg.Timeout, Transport: &http.Transport{MaxIdleConnsPerHost: 4}}}
}

// Close closes idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Token returns a token for the user that lives for the given time.
func (c *Client) Token(user UserID, life time.Duration) (string, error) {
	now := time.Now()
	t := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.RegisteredClaims{
		Subject: string(user), IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(life)),
	})
	signed, err := t.SignedString(c.cfg.Secret)
	if err != nil {
		return "", fmt.Errorf("sign token: %w", err)
	}
	return signed, nil
}

// Activate makes the device active for the user.
func (c *Client) Activate(ctx context.Context, user UserID, d Device) error {
	type target struct {
		Kind  string `json:"kind"`
		Value string `json:"value"`
	}
	return c.do(ctx, user, http.MethodPost, "/v1/devices/"+url.PathEscape(string(d.ID))+"/activate", struct {
		Platform   string `json:"platform"`
		Target     target `json:"target"`
		Locale     string `json:"locale,omitempty"`
		TimeZone   string `json:"time_zone,omitempty"`
		AppVersion string `json:"app_version,omitempty"`
	}{d.Platform, target{d.Kind, d.Token}, d.Locale, d.TimeZone, d.AppVersion}, nil)
}

// Deactivate stops everything to the device.
func (c *Client) Deactivate(ctx context.Context, user UserID, id DeviceID) error {
	return c.do(ctx, user, http.MethodPost, "/v1/devices/"+url.PathEscape(string(id))+"/deactivate", nil, nil)
}

// State returns the state of one of the user's devices: active, inactive or
// retired.
func (c *Client) State(ctx context.Context, user UserID, id DeviceID) (string, error) {
	var d struct {
		State string `json:"state"`
	}
	err := c.do(ctx, user, http.MethodGet, "/v1/devices/"+url.PathEscape(string(id)), nil, &d)
	return d.State, err
}

// Mute mutes exactly the categories for the user.
func (c *Client) Mute(ctx context.Context, user UserID, categories []string) error {
	return c.do(ctx, user, http.MethodPut, "/v1/preferences", struct {
		Muted   []string `json:"muted"`
		OptedIn []string `json:"opted_in"`
	}{append([]string{}, slices.Sorted(slices.Values(categories))...), []string{}}, nil)
}

// Quiet wants to hear nothing between two times of day, such as "22:00", of a
// time zone, and mutes nothing.
func (c *Client) Quiet(ctx context.Context, user UserID, from, to, zone string) error {
	type hours struct {
		From     string `json:"from"`
		To       string `json:"to"`
		TimeZone string `json:"time_zone"`
	}
	return c.do(ctx, user, http.MethodPut, "/v1/preferences", struct {
		Muted   []string `json:"muted"`
		OptedIn []string `json:"opted_in"`
		Quiet   hours    `json:"quiet"`
	}{[]string{}, []string{}, hours{from, to, zone}}, nil)
}

// AblyToken returns a token with which the user's app connects to Ably.
func (c *Client) AblyToken(ctx context.Context, user UserID) (string, error) {
	var t struct {
		Token string `json:"token"`
	}
	if err := c.do(ctx, user, http.MethodPost, "/v1/ably/token", nil, &t); err != nil {
		return "", err
	}
	if t.Token == "" {
		return "", errors.New("the service answered without a token")
	}
	return t.Token, nil
}

// do sends one request, and again when the service was busy or not reached: all
// operations may be repeated. It reads the answer into the given value, unless
// that is nil.
func (c *Client) do(ctx context.Context, user UserID, method, path string, body, into any) error {
	const tries = 4
	var err error
	for n := range tries {
		if n > 0 {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(time.Duration(n) * 200 * time.Millisecond):
			}
		}
		var again bool
		if again, err = c.once(ctx, user, method, path, body, into); err == nil || !again {
			break
		}
	}
	return err
}

func (c *Client) once(ctx context.Context, user UserID, method, path string, body, into any) (again bool, err error) {
	var payload io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return false, fmt.Errorf("marshal request: %w", err)
		}
		payload = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.cfg.URL+path, payload)
	if err != nil {
		return false, fmt.Errorf("make request: %w", err)
	}
	token, err := c.Token(user, 10*time.Minute)
	if err != nil {
		return false, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := c.http.Do(req)
	if err != nil {
		return true, fmt.Errorf("reach service: %w", err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, 1<<16))
	if err != nil {
		return true, fmt.Errorf("read answer: %w", err)
	}
	if res.StatusCode/100 != 2 {
		again := res.StatusCode == http.StatusTooManyRequests || res.StatusCode >= 500
		return again, &StatusError{Operation: method + " " + path, Status: res.StatusCode, Problem: string(text[:min(len(text), 300)])}
	}
	if into != nil {
		if err := json.Unmarshal(text, into); err != nil {
			return false, fmt.Errorf("unmarshal answer of %s %s: %w", method, path, err)
		}
	}
	return false, nil
}
