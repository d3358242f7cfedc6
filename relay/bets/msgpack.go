package bets

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/ugorji/go/codec"
)

// fromMsgpack rewrites a webhook in MessagePack as the JSON that Ably would have
// sent: bytes become base64, which their encoding then names. Each item is read by
// itself, so that what one user has published spoils no other's; one that cannot
// be read becomes a text, which is no item.
func fromMsgpack(body []byte) ([]byte, error) {
	raw, err := msgpackItems(body)
	if err != nil {
		return nil, err
	}
	w := webhook{Items: make([]json.RawMessage, len(raw))}
	for i, item := range raw {
		if w.Items[i], err = itemFromMsgpack(item); err != nil {
			w.Items[i] = []byte(`"` + base64.StdEncoding.EncodeToString(item) + `"`)
		}
	}
	var out []byte
	out = append(out, `{"items":[`...)
	for i, item := range w.Items { // not by encoding/json, which goes only so deep
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, item...)
	}
	return append(out, `]}`...), nil
}

func itemFromMsgpack(item []byte) ([]byte, error) {
	var v any
	h := &codec.MsgpackHandle{WriteExt: true} // texts and bytes are told apart
	if err := codec.NewDecoderBytes(item, h).Decode(&v); err != nil {
		return nil, fmt.Errorf("decode msgpack: %w", err)
	}
	out, err := json.Marshal(jsonable(v))
	if err != nil {
		return nil, fmt.Errorf("write as JSON: %w", err)
	}
	return out, nil
}

// jsonable is a value as JSON has it. What JSON has no word for is null: times and
// other extensions, and numbers that are none.
func jsonable(v any) any {
	switch v := v.(type) {
	case map[any]any:
		out := make(map[string]any, len(v)+1)
		for k, item := range v {
			out[fmt.Sprint(jsonable(k))] = jsonable(item)
		}
		if _, binary := v["data"].([]byte); binary {
			before, _ := out["encoding"].(string)
			out["encoding"] = strings.TrimPrefix(before+"/base64", "/")
		}
		return out
	case []any:
		for i := range v {
			v[i] = jsonable(v[i])
		}
		return v
	case []byte:
		return base64.StdEncoding.EncodeToString(v)
	case float32:
		return jsonable(float64(v))
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return nil
		}
		return v
	case string, bool, int64, uint64:
		return v
	}
	return nil
}

var errMsgpack = errors.New("decode msgpack: it is no map with a list of items")

// msgpackItems cuts the items of a webhook apart without reading them.
func msgpackItems(body []byte) ([][]byte, error) {
	pairs, at, ok := msgpackCount(body, 0x80, 0xde)
	if !ok {
		return nil, errMsgpack
	}
	var items [][]byte
	for range pairs {
		n, ok := msgpackLen(body[at:])
		if !ok {
			return nil, errMsgpack
		}
		var name string
		_ = codec.NewDecoderBytes(body[at:at+n], &codec.MsgpackHandle{WriteExt: true}).Decode(&name) // what is no text is no name
		at += n
		if n, ok = msgpackLen(body[at:]); !ok {
			return nil, errMsgpack
		}
		if name == "items" {
			if items, ok = msgpackList(body[at : at+n]); !ok {
				return nil, errMsgpack
			}
		}
		at += n
	}
	if at != len(body) || items == nil {
		return nil, errMsgpack
	}
	return items, nil
}

func msgpackList(list []byte) ([][]byte, bool) {
	count, at, ok := msgpackCount(list, 0x90, 0xdc)
	if !ok {
		return nil, false
	}
	items := [][]byte{}
	for range count {
		n, ok := msgpackLen(list[at:])
		if !ok {
			return nil, false
		}
		items = append(items, list[at:at+n])
		at += n
	}
	return items, true
}

// msgpackCount reads how many elements a map or list has, and where the first one
// is: fix is the first byte of short ones, long that of those with 16 bits, which
// is followed by that of those with 32.
func msgpackCount(b []byte, fix, long byte) (count, at int, ok bool) {
	switch {
	case len(b) >= 1 && b[0]&0xf0 == fix:
		return int(b[0] & 0x0f), 1, true
	case len(b) >= 3 && b[0] == long:
		return int(binary.BigEndian.Uint16(b[1:])), 3, true
	case len(b) >= 5 && b[0] == long+1:
		return int(binary.BigEndian.Uint32(b[1:])), 5, true
	}
	return 0, 0, false
}

// msgpackLen is how many bytes the first value has, however deep it is nested
// (MessagePack specification, "Formats").
func msgpackLen(b []byte) (int, bool) {
	at := 0
	for open := 1; open > 0; open-- {
		if at >= len(b) {
			return 0, false
		}
		c := b[at]
		head, size := 1, 0 // the bytes before the content, and of it
		switch {
		case c <= 0x7f || c >= 0xe0 || c == 0xc0 || c == 0xc2 || c == 0xc3: // small numbers, nil, false, true
		case c <= 0x9f || c >= 0xdc: // maps and lists
			fix, long, per := byte(0x80), byte(0xde), 2
			if c&0xf0 == 0x90 || c == 0xdc || c == 0xdd {
				fix, long, per = 0x90, 0xdc, 1
			}
			count, n, ok := msgpackCount(b[at:], fix, long)
			if !ok || count > len(b) { // an element has a byte at least
				return 0, false
			}
			head, open = n, open+per*count
		case c <= 0xbf: // short texts
			size = int(c & 0x1f)
		case c == 0xc1: // never used
			return 0, false
		case c <= 0xc9 || c >= 0xd9: // bytes, extensions, texts: with a length of 1, 2 or 4 bytes
			width := 1 << ((c - 0xc4) % 3)
			if c >= 0xd9 {
				width = 1 << (c - 0xd9)
			}
			if len(b)-at < 1+width {
				return 0, false
			}
			for _, digit := range b[at+1 : at+1+width] {
				size = size<<8 | int(digit)
			}
			head += width
			if c >= 0xc7 && c <= 0xc9 {
				head++ // the type of the extension
			}
		case c <= 0xcb: // floats
			size = 4 << (c - 0xca)
		case c <= 0xd3: // numbers
			size = 1 << ((c - 0xcc) % 4)
		default: // extensions of fixed sizes, with their type
			size = 1 + 1<<(c-0xd4)
		}
		if size > len(b)-at-head {
			return 0, false
		}
		at += head + size
	}
	return at, true
}
