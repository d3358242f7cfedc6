package bets

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/ugorji/go/codec"
)

// fromMsgpack rewrites a webhook in MessagePack as the JSON that Ably would have
// sent: bytes become base64, which their encoding then names.
func fromMsgpack(body []byte) (out []byte, err error) {
	h := &codec.MsgpackHandle{WriteExt: true} // texts and bytes are told apart
	h.MapType = nil
	var v any
	dec := codec.NewDecoderBytes(body, h)
	if err := dec.Decode(&v); err != nil {
		return nil, fmt.Errorf("decode msgpack: %w", err)
	}
	if dec.NumBytesRead() != len(body) {
		return nil, fmt.Errorf("decode msgpack: %d bytes are left over", len(body)-dec.NumBytesRead())
	}
	out, err = json.Marshal(jsonable(v))
	if err != nil {
		return nil, fmt.Errorf("write as JSON: %w", err)
	}
	return out, nil
}

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
	}
	return v
}
