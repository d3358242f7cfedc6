package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bugle-push/bugle/api"
)

// adminTimeout bounds a call of the admin API that is not a stream.
const adminTimeout = 30 * time.Second

// adminClient calls the admin API of a running service.
type adminClient struct {
	server, tokenFile string
	transport         http.RoundTripper // nil is http.DefaultTransport
}

// flags adds those that every command has which calls the admin API.
func (a *adminClient) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&a.server, "server", "http://127.0.0.1:8081", "where the service's admin listener is (admin.listen)")
	cmd.Flags().StringVar(&a.tokenFile, "token-file", "", "file with a token that bugle admin-token has printed (required)")
	_ = cmd.MarkFlagRequired("token-file") // it has just been added
}

// call makes a request and returns its answer, which the caller closes. What is no
// success is an error with the service's own words.
func (a *adminClient) call(ctx context.Context, method, path string, query url.Values) (io.ReadCloser, error) {
	token, err := os.ReadFile(a.tokenFile)
	if err != nil {
		return nil, err // says "open NAME: reason" already
	}
	base, err := url.Parse(a.server)
	if err != nil || base.Host == "" {
		return nil, errors.New("--server wants a URL such as http://127.0.0.1:8081")
	}
	target := strings.TrimSuffix(a.server, "/") + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, target, nil)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	client := http.Client{Transport: a.transport}
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("reach the admin API: %w", err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	var p api.Problem
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	if json.Unmarshal(text, &p) != nil || p.Detail == "" {
		return nil, fmt.Errorf("the admin API answered %s", resp.Status)
	}
	for _, f := range p.Errors {
		p.Detail += fmt.Sprintf("; %s: %s", f.Path, f.Message)
	}
	return nil, fmt.Errorf("the admin API answered %d: %s", resp.StatusCode, p.Detail)
}

// get reads a JSON answer.
func (a *adminClient) get(ctx context.Context, path string, query url.Values, into any) error {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	body, err := a.call(ctx, http.MethodGet, path, query)
	if err != nil {
		return err
	}
	defer body.Close()
	dec := json.NewDecoder(body)
	dec.UseNumber() // of rows: they are printed as they are
	if err := dec.Decode(into); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	return nil
}
