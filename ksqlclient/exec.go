package ksqlclient

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// CommandState is where a statement stands that goes through the command topic.
type CommandState string

// The states of a command. All but StateQueued, StateParsing and StateExecuting
// are final.
const (
	StateQueued     CommandState = "QUEUED"
	StateParsing    CommandState = "PARSING"
	StateExecuting  CommandState = "EXECUTING"
	StateRunning    CommandState = "RUNNING"
	StateTerminated CommandState = "TERMINATED"
	StateSuccess    CommandState = "SUCCESS"
	StateError      CommandState = "ERROR"
)

func (s CommandState) pending() bool {
	return s == StateQueued || s == StateParsing || s == StateExecuting
}

// Command is the outcome of a statement that changes something.
type Command struct {
	// ID is the server's name of the command, for example "stream/`BETS`/create".
	ID string
	// Sequence is the place in the command topic, for AfterCommand; -1 when the
	// statement was not enqueued.
	Sequence int64
	// State is final unless Exec returned an error.
	State CommandState
	// Message is the server's text, masked like that of an Error.
	Message string
	// QueryID is the persistent query that the statement started, or empty.
	QueryID string
}

// Result is what one statement of an Exec produced.
type Result struct {
	// Type is the server's name of the entity, for example "currentStatus",
	// "sourceDescription" or "warning_entity" (IF NOT EXISTS on a source that
	// exists).
	Type string
	// Warnings are the server's, masked like the message of an Error.
	Warnings []string
	// Command is set for statements that change something.
	Command *Command
	// Raw is the entity as the server sent it. It repeats the statement, bound
	// values included: keep it out of logs.
	Raw json.RawMessage
}

// CommandError means that the server accepted a statement and failed to run it.
type CommandError struct {
	// Command has State StateError.
	Command Command
}

// Error describes the failure. It contains no bound value.
func (e *CommandError) Error() string {
	return fmt.Sprintf("ksqldb command %s ended in state %s: %s", e.Command.ID, e.Command.State, e.Command.Message)
}

// Exec runs statements other than SELECT and PRINT (POST /ksql). Parameters are
// bound as Bind does. A command that the server has only queued is polled until
// it is done or the deadline passes.
//
// The results come in the order of the statements that yield one; SET and DEFINE
// yield none. Several statements are not atomic: after an error some may have
// run, and the server does not say which. With an error after the server's
// answer, the results are returned along with it.
//
// Errors: *Error, *CommandError, ErrStatement, ErrParam, ErrTruncated (whether
// the statements ran is then unknown), ErrMalformed, ErrTooLarge.
func (c *Client) Exec(ctx context.Context, sql string, params Params, options ...Option) ([]Result, error) {
	opts := c.newCall(options)
	ctx, cancel := context.WithTimeout(ctx, opts.timeout)
	defer cancel()
	results, err := c.exec(ctx, sql, params, opts)
	if err != nil {
		return results, fmt.Errorf("execute statement: %w", err)
	}
	return results, nil
}

func (c *Client) exec(ctx context.Context, sql string, params Params, opts call) ([]Result, error) {
	b, err := bind(sql, params)
	if err != nil {
		return nil, err
	}
	statement, _, err := terminated(b.sql)
	if err != nil {
		return nil, err
	}
	body := map[string]any{"ksql": statement, "streamsProperties": opts.properties}
	if opts.after != nil {
		body["commandSequenceNumber"] = *opts.after
	}
	r := request{kind: KindExec, path: "/ksql", accept: mediaV1, body: body, mask: b.mask}
	var raws []json.RawMessage
	if err := c.reply(ctx, r, &raws); err != nil {
		return nil, err
	}
	results := make([]Result, len(raws))
	for i, raw := range raws {
		if results[i], err = c.entity(r, raw); err != nil {
			return results[:i], err
		}
	}
	var failed []error
	for _, result := range results {
		if result.Command == nil {
			continue
		}
		if err := c.await(ctx, r, result.Command); err != nil {
			return results, errors.Join(append(failed, err)...)
		}
		if result.Command.State == StateError {
			failed = append(failed, &CommandError{Command: *result.Command})
		}
	}
	return results, errors.Join(failed...)
}

type commandStatus struct {
	Status  CommandState `json:"status"`
	Message string       `json:"message"`
	QueryID *string      `json:"queryId"`
}

func (c *Client) entity(r request, raw json.RawMessage) (Result, error) {
	var e struct {
		Type     string `json:"@type"`
		Code     *int   `json:"error_code"`
		Warnings []struct {
			Message string `json:"message"`
		} `json:"warnings"`
		CommandID string         `json:"commandId"`
		Status    *commandStatus `json:"commandStatus"`
		Sequence  *int64         `json:"commandSequenceNumber"`
	}
	if err := json.Unmarshal(raw, &e); err != nil || e.Type == "" {
		return Result{}, fmt.Errorf("%w: an entity of unknown form", ErrMalformed)
	}
	if e.Code != nil {
		return Result{}, c.refusal(r, http.StatusOK, raw)
	}
	result := Result{Type: e.Type, Raw: raw}
	for _, w := range e.Warnings {
		result.Warnings = append(result.Warnings, c.clean(r.mask, w.Message))
	}
	if e.Type != "currentStatus" {
		return result, nil
	}
	if e.Status == nil || e.CommandID == "" {
		return Result{}, fmt.Errorf("%w: a command without id or status", ErrMalformed)
	}
	result.Command = &Command{ID: e.CommandID, Sequence: -1}
	if e.Sequence != nil {
		result.Command.Sequence = *e.Sequence
	}
	c.update(r, result.Command, *e.Status)
	return result, nil
}

func (c *Client) update(r request, command *Command, status commandStatus) {
	command.State = status.Status
	command.Message = c.clean(r.mask, status.Message)
	if status.QueryID != nil {
		command.QueryID = *status.QueryID
	}
}

// await polls a pending command until it is done.
func (c *Client) await(ctx context.Context, r request, command *Command) error {
	for command.State.pending() {
		timer := time.NewTimer(c.poll)
		select {
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("wait for command %s, last seen %s: %w", command.ID, command.State, ctx.Err())
		case <-timer.C:
		}
		var status commandStatus
		err := c.reply(ctx, request{kind: KindStatus, path: statusPath(command.ID), accept: mediaV1, mask: r.mask}, &status)
		refused, isRefused := errors.AsType[*Error](err)
		switch {
		case err == nil && status.Status != "":
			c.update(r, command, status)
		case err == nil:
			return fmt.Errorf("wait for command %s: %w: no status", command.ID, ErrMalformed)
		case ctx.Err() != nil:
			// The next turn reports the deadline and the last state.
		case isRefused && refused.Status == http.StatusNotFound:
			// Another node behind the load balancer may not have read it yet.
		case !Retryable(err):
			return fmt.Errorf("wait for command %s: %w", command.ID, err)
		}
	}
	return nil
}

// statusPath is the path of a command's status. The entity in the middle of the
// id is back-quoted and must be escaped.
func statusPath(id string) string {
	kind, rest, _ := strings.Cut(id, "/")
	entity, action := rest, ""
	if i := strings.LastIndexByte(rest, '/'); i >= 0 {
		entity, action = rest[:i], rest[i+1:]
	}
	return "/status/" + url.PathEscape(kind) + "/" + url.PathEscape(entity) + "/" + url.PathEscape(action)
}
