package relay

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"

	"github.com/twmb/avro"
)

// avroValue decodes values of one Avro schema.
type avroValue struct{ schema *avro.Schema }

// newAvroValue compiles a schema. The schemas that it refers to come first,
// each after those that it refers to itself.
func newAvroValue(text string, references []string) (*avroValue, error) {
	var known avro.SchemaCache
	opts := avroJSON()
	for _, r := range references {
		if _, err := known.Parse(r, opts...); err != nil {
			return nil, fmt.Errorf("parse referenced schema: %w", err)
		}
	}
	schema, err := known.Parse(text, opts...)
	if err != nil {
		return nil, fmt.Errorf("parse schema: %w", err)
	}
	return &avroValue{schema: schema}, nil
}

// decode returns the value as JSON.
func (a *avroValue) decode(payload []byte) ([]byte, error) {
	var value any
	rest, err := a.schema.Decode(payload, &value)
	if err != nil {
		return nil, avroFault(err)
	}
	if len(rest) > 0 {
		return nil, fmt.Errorf("%d bytes are left over", len(rest))
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(value); err != nil {
		return nil, errors.New("it has no form in JSON")
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// avroFault says where a value breaks its schema. The library's own text may
// quote the value, so that only its place and type are taken over.
func avroFault(err error) error {
	if short, ok := errors.AsType[*avro.ShortBufferError](err); ok {
		return fmt.Errorf("it ends in the middle of a %s", short.Type)
	}
	if semantic, ok := errors.AsType[*avro.SemanticError](err); ok && semantic.Field != "" {
		return fmt.Errorf("field %s is no %s", semantic.Field, semantic.AvroType)
	}
	return errors.New("it does not fit the schema")
}

// avroJSON says how Avro becomes JSON: as ksqlDB's JSON format writes the same
// columns, so that a topic gives the same messages in either format. Times and
// dates stay the number that they are in the record (its unit is the logical
// type's), decimals become numbers with all their digits, bytes become base64,
// and what a float can be and a JSON number cannot becomes null.
func avroJSON() []avro.SchemaOpt {
	var opts []avro.SchemaOpt
	for _, logical := range []string{
		"date", "time-millis", "time-micros", "timestamp-millis", "timestamp-micros", "timestamp-nanos",
		"local-timestamp-millis", "local-timestamp-micros", "local-timestamp-nanos", "duration",
	} {
		opts = append(opts, avro.CustomType{LogicalType: logical}) // without a Decode the value stays as it is
	}
	return append(opts,
		avro.CustomType{LogicalType: "decimal", Decode: decimalNumber},
		avro.CustomType{LogicalType: "big-decimal", Decode: bigDecimalNumber},
		avro.CustomType{LogicalType: "uuid", AvroType: "fixed", Decode: uuidText},
		avro.CustomType{AvroType: "float", Decode: finite},
		avro.CustomType{AvroType: "double", Decode: finite},
	)
}

// decimalNumber writes a decimal with as many places as its schema has.
func decimalNumber(v any, schema *avro.SchemaNode) (any, error) {
	raw, ok := v.([]byte)
	if !ok {
		return nil, avro.ErrSkipCustomType
	}
	return decimalOf(raw, int64(schema.Scale))
}

// bigDecimalNumber writes a decimal that carries its own scale: bytes of the
// unscaled value, and an int (Avro 1.12, "Big decimal").
func bigDecimalNumber(v any, _ *avro.SchemaNode) (any, error) {
	raw, ok := v.([]byte)
	if !ok {
		return nil, avro.ErrSkipCustomType
	}
	size, n := binary.Varint(raw)
	if n <= 0 || size < 0 || size > int64(len(raw)-n) {
		return nil, errBadDecimal
	}
	unscaled, rest := raw[n:n+int(size)], raw[n+int(size):]
	scale, n := binary.Varint(rest)
	if n <= 0 || n != len(rest) {
		return nil, errBadDecimal
	}
	return decimalOf(unscaled, scale)
}

// decimalOf writes all digits of an unscaled value, which is a big-endian two's
// complement (Avro 1.12, "Decimal").
func decimalOf(raw []byte, scale int64) (json.Number, error) {
	if len(raw) > maxDecimalBytes || scale > maxDecimalScale || scale < -maxDecimalScale {
		return "", errBadDecimal
	}
	unscaled := new(big.Int).SetBytes(raw)
	if len(raw) > 0 && raw[0]&0x80 != 0 {
		unscaled.Sub(unscaled, new(big.Int).Lsh(big.NewInt(1), uint(len(raw))*8))
	}
	power := new(big.Int).Exp(big.NewInt(10), big.NewInt(max(scale, -scale)), nil)
	if scale < 0 {
		return json.Number(unscaled.Mul(unscaled, power).String()), nil
	}
	return json.Number(new(big.Rat).SetFrac(unscaled, power).FloatString(int(scale))), nil
}

var errBadDecimal = errors.New("the decimal is broken or has too many digits")

// The bounds of a decimal: printing one takes time that grows faster than its
// length. Databases and ksqlDB (38 digits) stay far below.
const (
	maxDecimalBytes = 256
	maxDecimalScale = 1024
)

func uuidText(v any, _ *avro.SchemaNode) (any, error) {
	raw, ok := v.([]byte)
	if !ok || len(raw) != 16 {
		return nil, avro.ErrSkipCustomType
	}
	return fmt.Sprintf("%x-%x-%x-%x-%x", raw[:4], raw[4:6], raw[6:8], raw[8:10], raw[10:]), nil
}

func finite(v any, _ *avro.SchemaNode) (any, error) {
	var f float64
	switch v := v.(type) {
	case float32:
		f = float64(v)
	case float64:
		f = v
	}
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return nil, nil //nolint:nilnil // null is what JSON has for it
	}
	return v, nil
}
