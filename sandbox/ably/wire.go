package ably

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"mime"
	"net/http"
	"reflect"
	"strconv"
	"strings"

	"github.com/ugorji/go/codec"
)

// format is an encoding of bodies and frames.
type format int

const (
	inJSON format = iota
	inMsgpack
)

// contentType names the format in a header.
func (f format) contentType() string {
	if f == inMsgpack {
		return "application/x-msgpack"
	}
	return "application/json"
}

// wire encodes and decodes both formats.
type wire struct{ handle *codec.MsgpackHandle }

func newWire() *wire {
	h := &codec.MsgpackHandle{WriteExt: true} // str8 and bin, as clients expect
	h.SignedInteger = true
	h.MapType = reflect.TypeFor[map[string]any]()
	return &wire{handle: h}
}

// decode reads one value: map[string]any, []any, string, []byte (msgpack
// only), int64, float64, bool or nil.
func (w *wire) decode(f format, body []byte) (any, error) {
	var v any
	if f == inMsgpack {
		dec := codec.NewDecoderBytes(body, w.handle)
		if err := dec.Decode(&v); err != nil {
			return nil, fmt.Errorf("decode msgpack: %w", err)
		}
		return plain(v), nil
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	if err := dec.Decode(&v); err != nil {
		return nil, fmt.Errorf("decode json: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("decode json: trailing data")
	}
	return plain(v), nil
}

// encode writes v, made of this package's own types and decoded values.
func (w *wire) encode(f format, v any) []byte {
	var b bytes.Buffer
	if f == inMsgpack {
		// What cannot be encoded is a mistake of this package: the tests would
		// see the empty body.
		_ = codec.NewEncoder(&b, w.handle).Encode(v)
		return b.Bytes()
	}
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v)
	return bytes.TrimRight(b.Bytes(), "\n")
}

// plain turns the decoders' number types into int64 and float64.
func plain(v any) any {
	switch v := v.(type) {
	case json.Number:
		if n, err := strconv.ParseInt(string(v), 10, 64); err == nil {
			return n
		}
		f, err := v.Float64()
		if err != nil { // out of range
			return string(v)
		}
		return f
	case uint64:
		if v <= math.MaxInt64 {
			return int64(v)
		}
		return float64(v)
	case float32:
		return float64(v)
	case map[string]any:
		for k, e := range v {
			v[k] = plain(e)
		}
	case []any:
		for i, e := range v {
			v[i] = plain(e)
		}
	}
	return v
}

// object is a decoded object, with readers that forgive a wrong type.
type object map[string]any

func asObject(v any) (object, bool) {
	m, ok := v.(map[string]any)
	return m, ok
}

func (o object) str(name string) string {
	s, _ := o[name].(string)
	return s
}

func (o object) int(name string) int64 {
	switch n := o[name].(type) {
	case int64:
		return n
	case float64:
		return int64(n)
	}
	return 0
}

func (o object) sub(name string) object {
	m, _ := asObject(o[name])
	return m
}

func (o object) list(name string) []any {
	l, _ := o[name].([]any)
	return l
}

// requestFormat says in which format a request's body is.
func requestFormat(r *http.Request) (format, *errorInfo) {
	ct, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch {
	case r.Header.Get("Content-Type") == "", err == nil && ct == "application/json":
		return inJSON, nil
	case err == nil && ct == "application/x-msgpack":
		return inMsgpack, nil
	}
	return 0, fail(codeBadBody, "unsupported content-type")
}

// answerFormat says in which format the answer is wanted: Accept wins over the
// parameter format, and JSON is the default.
func answerFormat(r *http.Request) format {
	for part := range strings.SplitSeq(r.Header.Get("Accept"), ",") {
		switch ct, _, _ := mime.ParseMediaType(strings.TrimSpace(part)); ct {
		case "application/json":
			return inJSON
		case "application/x-msgpack":
			return inMsgpack
		}
	}
	if r.URL.Query().Get("format") == "msgpack" {
		return inMsgpack
	}
	return inJSON
}

// answer is one HTTP answer, made before it is known how it is printed.
type answer struct {
	status     int
	body       any // nil means no body, or the error's own
	err        *errorInfo
	headerOnly bool // the error stands in the headers alone, as the edge does it
	html       bool // a page of the content delivery network stands for the body
	links      []string
	closing    bool // end the connection afterwards
}

func ok(body any) *answer { return &answer{status: http.StatusOK, body: body} }

func noContent() *answer { return &answer{status: http.StatusNoContent} }

func refuse(e *errorInfo) *answer { return &answer{status: e.StatusCode, err: e} }

// common sets the headers that every answer has. Pages of any origin may read
// it.
func (s *Server) common(h http.Header) {
	h.Set("Server", "ably-stand-in")
	h.Set("Vary", "Origin")
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Access-Control-Expose-Headers", "Link,Transfer-Encoding,Content-Length,X-Ably-ErrorCode,X-Ably-ErrorMessage,X-Ably-ServerId")
	h.Set("X-Ably-Serverid", "stand-in")
}

// write sends the answer and reports what the connection said to it.
func (s *Server) write(w http.ResponseWriter, r *http.Request, a *answer) error {
	h := w.Header()
	s.common(h)
	for _, l := range a.links {
		h.Add("Link", l)
	}
	if a.closing {
		h.Set("Connection", "close")
	}
	var body []byte
	f := answerFormat(r)
	switch {
	case a.html:
		// ably-go knows the network by this header and then tries other hosts.
		h.Set("Server", "CloudFront")
		h.Set("Content-Type", "text/html")
		body = fmt.Appendf(nil, "<html><head><title>%d %s</title></head><body></body></html>\n", a.status, http.StatusText(a.status))
	case a.err != nil:
		h.Set("X-Ably-Errorcode", strconv.Itoa(a.err.Code))
		h.Set("X-Ably-Errormessage", a.err.Message)
		if !a.headerOnly {
			v := a.body
			if v == nil {
				v = errorBody{a.err}
			}
			body = s.wire.encode(f, v)
		}
	case a.body != nil:
		body = s.wire.encode(f, a.body)
	}
	if body != nil && !a.html {
		h.Set("Content-Type", f.contentType())
	}
	if a.status != http.StatusNoContent {
		h.Set("Content-Length", strconv.Itoa(len(body)))
	}
	w.WriteHeader(a.status)
	if _, err := w.Write(body); err != nil && len(body) > 0 {
		return fmt.Errorf("write answer: %w", err)
	}
	if err := http.NewResponseController(w).Flush(); err != nil {
		return fmt.Errorf("flush answer: %w", err)
	}
	return nil
}
