package ksqlclient

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"slices"
	"unicode/utf8"
)

// Pull runs a pull query and yields its rows as they arrive, in memory bounded
// by Config.MaxRowBytes. The parameters are bound as Bind does, and a missing
// final semicolon is added.
//
// A failure at any point, before the first row or after the last one, is yielded
// as the last pair, with the zero Row. Only a sequence that ends without an error
// was the whole result: rows before an error must not be taken for it.
//
//	for row, err := range client.Pull(ctx, sql, params) {
//		if err != nil {
//			return err
//		}
//		...
//	}
//
// Each iteration of the sequence sends the query anew. Breaking out of the loop
// closes the request. Config.Timeout covers the whole iteration, the work of the
// loop's body included; WithTimeout changes it.
//
// Errors: *Error, ErrTruncated, ErrMalformed, ErrTooLarge, ErrStatement,
// ErrParam, and those of the network.
func (c *Client) Pull(ctx context.Context, sql string, params Params, options ...Option) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		err := c.pull(ctx, sql, params, c.newCall(options), receiver{row: func(r Row) bool { return yield(r, nil) }})
		if err != nil {
			yield(Row{}, fmt.Errorf("pull rows: %w", err))
		}
	}
}

// PullAll returns all rows of a pull query, or an error and no rows.
func (c *Client) PullAll(ctx context.Context, sql string, params Params, options ...Option) ([]Row, error) {
	return Collect[Row](c.Pull(ctx, sql, params, options...))
}

// Columns sends a pull query and returns the columns of its result, of an empty
// one too, without waiting for rows. Unlike Describe it knows aliases and pseudo
// columns. The query starts on the server and is given up: add LIMIT 0 to a query
// that scans (ksqlDB 0.24 and later).
func (c *Client) Columns(ctx context.Context, sql string, params Params, options ...Option) ([]Column, error) {
	var found []Column
	err := c.pull(ctx, sql, params, c.newCall(options), receiver{header: func(columns []Column) bool {
		found = columns
		return false
	}})
	if err != nil {
		return nil, fmt.Errorf("pull columns: %w", err)
	}
	return found, nil
}

// receiver takes the parts of an answer; false stops it. A nil func takes
// nothing and goes on.
type receiver struct {
	header func([]Column) bool
	row    func(Row) bool
}

// pull hands the answer to the receiver. It returns nil when the answer ended
// cleanly or the receiver stopped it.
func (c *Client) pull(ctx context.Context, sql string, params Params, opts call, to receiver) error {
	if opts.after != nil {
		return fmt.Errorf("%w: AfterCommand does not apply to pull queries", ErrStatement)
	}
	b, err := bind(sql, params)
	if err != nil {
		return err
	}
	statement, err := pullStatement(b.sql)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, opts.timeout)
	defer cancel()
	r := request{kind: KindPull, path: "/query-stream", accept: mediaDelimited, mask: b.mask, body: map[string]any{
		"sql": statement, "properties": opts.properties,
	}}
	resp, err := c.send(ctx, r)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.ProtoMajor == 1 && resp.ContentLength < 0 && !slices.Contains(resp.TransferEncoding, "chunked") {
		return fmt.Errorf("%w: the body is delimited by the end of the connection only, which a cut looks like", ErrTruncated)
	}
	return c.readRows(ctx, r, resp, to)
}

func (c *Client) readRows(ctx context.Context, r request, resp *http.Response, to receiver) error {
	lines := lineReader{r: bufio.NewReaderSize(resp.Body, 32<<10), maxLine: c.maxRow, left: c.maxResult}
	var cols *columns
	for n := 0; ; {
		line, err := lines.next()
		// After the read, because a clean end does not count once the context has
		// ended: a server that sees the client leave may end its answer properly, and
		// over TLS that end can arrive between the client's close_notify and its close.
		if ctx.Err() != nil {
			return truncated(ctx, ctx.Err())
		}
		switch {
		case err == io.EOF && cols != nil: //nolint:errorlint // A wrapped EOF is a broken connection; only the bare one is a clean end.
			return nil
		case err == io.EOF: //nolint:errorlint // As above.
			return fmt.Errorf("%w: %w: empty body without header", ErrTruncated, ErrMalformed)
		case errors.Is(err, ErrTooLarge):
			return err
		case errors.Is(err, errUnfinishedLine):
			// An error that lost its line end still tells more than the cut.
			if refused := c.errorLine(r, resp.StatusCode, line); refused != nil {
				return refused
			}
			return fmt.Errorf("%w: %w after %d rows", ErrTruncated, err, n)
		case err != nil:
			return truncated(ctx, err)
		}
		line = bytes.TrimSpace(line)
		switch {
		case len(line) == 0:
			continue
		case !utf8.Valid(line) || !json.Valid(line):
			return fmt.Errorf("%w: a line that is no JSON after %d rows", ErrMalformed, n)
		case isJSONArray(line) && cols == nil:
			return fmt.Errorf("%w: a row before the header", ErrMalformed)
		case isJSONArray(line):
			values, err := decodeRow(line, cols)
			if err != nil {
				return fmt.Errorf("%w: row %d: %w", ErrMalformed, n, err)
			}
			n++
			if to.row != nil && !to.row(Row{columns: cols, values: values}) {
				return nil
			}
		default:
			header, err := c.control(r, resp.StatusCode, line, cols == nil)
			if err != nil {
				return err
			}
			if header == nil {
				continue
			}
			cols = header
			if to.header != nil && !to.header(cols.list) {
				return nil
			}
		}
	}
}

// objectLine is any line that is no row.
type objectLine struct {
	ColumnNames  []string        `json:"columnNames"`
	ColumnTypes  []string        `json:"columnTypes"`
	Type         string          `json:"@type"`
	Code         *int            `json:"error_code"`
	Nested       json.RawMessage `json:"errorMessage"`
	Continuation json.RawMessage `json:"continuationToken"`
	Consistency  json.RawMessage `json:"consistencyToken"`
	Final        json.RawMessage `json:"finalMessage"`
}

// control interprets a line that is no row: the header, an error, or a token. A
// line of an unknown kind is refused, because it might be an error.
func (c *Client) control(r request, status int, line []byte, wantHeader bool) (*columns, error) {
	if refused := c.errorLine(r, status, line); refused != nil {
		return nil, refused
	}
	var o objectLine
	if err := json.Unmarshal(line, &o); err != nil {
		return nil, fmt.Errorf("%w: a line of unknown form", ErrMalformed)
	}
	switch {
	case o.ColumnNames != nil && wantHeader:
		cols, err := newColumns(o.ColumnNames, o.ColumnTypes)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
		}
		return cols, nil
	case o.ColumnNames != nil:
		return nil, fmt.Errorf("%w: a second header", ErrMalformed)
	case o.Continuation != nil, o.Consistency != nil, o.Final != nil:
		return nil, nil
	}
	return nil, fmt.Errorf("%w: a line of unknown kind", ErrMalformed)
}

// errorLine returns the error that a line holds, or nil.
func (c *Client) errorLine(r request, status int, line []byte) error {
	var o objectLine
	if err := json.Unmarshal(line, &o); err != nil {
		return nil
	}
	switch {
	case o.Nested != nil:
		line = o.Nested
	case o.Code == nil && (o.Type == "" || o.ColumnNames != nil):
		return nil
	}
	e := c.refusal(r, status, line)
	e.InStream = true
	return e
}

// errUnfinishedLine means that a body ended cleanly, but inside a line: every
// line of the format ends with a line break.
var errUnfinishedLine = errors.New("the body stops inside a line")

// lineReader reads lines of bounded length from a body of bounded length.
type lineReader struct {
	r       *bufio.Reader
	maxLine int
	left    int64
	buf     []byte
}

// next returns the next line, valid until the next call, and io.EOF after the
// last one. With errUnfinishedLine it returns what there is of the line.
func (l *lineReader) next() ([]byte, error) {
	l.buf = l.buf[:0]
	for {
		part, err := l.r.ReadSlice('\n')
		l.left -= int64(len(part))
		if l.left < 0 {
			return nil, fmt.Errorf("%w: the result is too long", ErrTooLarge)
		}
		if len(l.buf)+len(part) > l.maxLine {
			return nil, fmt.Errorf("%w: a row has more than %d bytes", ErrTooLarge, l.maxLine)
		}
		if err == nil && len(l.buf) == 0 {
			return part, nil
		}
		l.buf = append(l.buf, part...)
		switch {
		case err == nil:
			return l.buf, nil
		case errors.Is(err, bufio.ErrBufferFull):
		case err == io.EOF && len(l.buf) > 0:
			return l.buf, errUnfinishedLine
		default:
			return nil, err
		}
	}
}
