package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/bugle-push/bugle/api"
	"github.com/bugle-push/bugle/internal/fault"
)

const (
	// adminTimeout bounds a call of the admin API that neither streams nor works for long.
	adminTimeout = 30 * time.Second
	// workTimeout is for those that work: a run, a requeue, an erasure. The service bounds them itself.
	workTimeout = 6 * time.Minute
	// completionTimeout is how long somebody who has pressed Tab waits.
	completionTimeout = 2 * time.Second
	// tokenFileName is where a token is looked for in the home folder without --token-file.
	tokenFileName = ".bugle-token"
)

// adminClient calls the admin API of a running service.
type adminClient struct {
	server, tokenFile string
	home              string            // "" when there is none
	transport         http.RoundTripper // nil is http.DefaultTransport
}

// admin makes a client for a command, which adds its flags.
func (c *cli) admin() *adminClient {
	a := &adminClient{transport: c.transport}
	for _, e := range c.environ {
		if home, ok := strings.CutPrefix(e, "HOME="); ok {
			a.home = home
		}
	}
	return a
}

// flags adds those that every command has which calls the admin API.
func (a *adminClient) flags(set *pflag.FlagSet) {
	set.StringVar(&a.server, "server", "http://127.0.0.1:8081", "where the service's admin listener is (admin.listen)")
	set.StringVar(&a.tokenFile, "token-file", "", "file with a token that bugle admin-token has printed (default ~/"+tokenFileName+")")
}

func (a *adminClient) token() (string, error) {
	file := a.tokenFile
	if file == "" {
		if a.home == "" {
			return "", usagef("name a file with an admin token by --token-file")
		}
		file = filepath.Join(a.home, tokenFileName)
	}
	text, err := os.ReadFile(file)
	switch {
	case a.tokenFile == "" && errors.Is(err, os.ErrNotExist):
		return "", usagef("there is no %s: put a token into it that bugle admin-token has printed, or name another file by --token-file", file)
	case err != nil:
		return "", err // says "open NAME: reason" already
	}
	return strings.TrimSpace(string(text)), nil
}

// adminCall is a request.
type adminCall struct {
	method, path string // path begins with /admin/v1 and is escaped
	query        url.Values
	body         io.Reader
	media        string // of the body
}

// open makes a request and returns its answer, which the caller closes. What is no success is an
// error with the service's own words.
func (a *adminClient) open(ctx context.Context, call adminCall) (io.ReadCloser, error) {
	token, err := a.token()
	if err != nil {
		return nil, err
	}
	base, err := url.Parse(a.server)
	if err != nil || base.Host == "" {
		return nil, usagef("--server wants a URL such as http://127.0.0.1:8081")
	}
	target := strings.TrimSuffix(a.server, "/") + call.path
	if len(call.query) > 0 {
		target += "?" + call.query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, call.method, target, call.body)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	if call.media != "" {
		req.Header.Set("Content-Type", call.media)
	}
	client := http.Client{Transport: a.transport}
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("reach the admin API: %w", err)
	}
	if resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusNoContent {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	return nil, refusal(resp)
}

// refusal is what the service says of a request that it did not do.
func refusal(resp *http.Response) error {
	var p api.Problem
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	if json.Unmarshal(text, &p) != nil || p.Detail == "" {
		return fmt.Errorf("the admin API answered %s", resp.Status)
	}
	said := fmt.Sprintf("the admin API answered %d: %s", resp.StatusCode, p.Detail)
	if len(p.Errors) == 0 {
		return errors.New(said)
	}
	fields := make([]fault.Field, len(p.Errors))
	for i, f := range p.Errors {
		fields[i] = fault.Field{Path: f.Path, Message: f.Message}
	}
	return fault.InvalidFields(said, fields...)
}

// get reads a JSON answer.
func (a *adminClient) get(ctx context.Context, path string, query url.Values, into any) error {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	return a.exchange(ctx, adminCall{method: http.MethodGet, path: path, query: query}, into)
}

// post sends JSON and reads the JSON answer. A nil body is none.
func (a *adminClient) post(ctx context.Context, path string, body, into any) error {
	return a.send(ctx, http.MethodPost, path, body, into)
}

// send is post with another method.
func (a *adminClient) send(ctx context.Context, method, path string, body, into any) error {
	ctx, cancel := context.WithTimeout(ctx, workTimeout)
	defer cancel()
	call := adminCall{method: method, path: path}
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return fmt.Errorf("encode request: %w", err)
		}
		call.body, call.media = bytes.NewReader(text), "application/json"
	}
	return a.exchange(ctx, call, into)
}

// exchange makes a call and reads its JSON answer.
func (a *adminClient) exchange(ctx context.Context, call adminCall, into any) error {
	body, err := a.open(ctx, call)
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

// completion offers what the service knows to the shell: nothing when it does not answer soon.
func (a *adminClient) completion(path string, query url.Values, names func(get func(into any) bool) []string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), completionTimeout)
		defer cancel()
		return names(func(into any) bool { return a.get(ctx, path, query, into) == nil }), cobra.ShellCompDirectiveNoFileComp
	}
}

// ruleIDs completes a rule of the service.
func (a *adminClient) ruleIDs() cobra.CompletionFunc {
	return a.completion("/admin/v1/rules", nil, func(get func(any) bool) (out []string) {
		var list api.AdminRuleList
		if get(&list) {
			for _, r := range list.Rules {
				out = append(out, cobra.CompletionWithDesc(r.ID, r.Schedule))
			}
		}
		return out
	})
}

// runIDs completes a run of the service, of those in a state.
func (a *adminClient) runIDs(state string) cobra.CompletionFunc {
	query := url.Values{"limit": {"50"}}
	if state != "" {
		query.Set("state", state)
	}
	return a.completion("/admin/v1/runs", query, func(get func(any) bool) (out []string) {
		var list api.AdminRunList
		if get(&list) {
			for _, r := range list.Runs {
				out = append(out, cobra.CompletionWithDesc(fmt.Sprint(r.ID), r.Rule+", "+r.State+", "+at(r.TickAt)))
			}
		}
		return out
	})
}

// pathOf puts an id into a path.
func pathOf(format, id string) string { return fmt.Sprintf(format, url.PathEscape(id)) }
