package notifier

import (
	"bytes"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/bugle-push/bugle/devices"
)

const (
	// MaxKeyBytes bounds the canonical text of a key; it must fit an index row of PostgreSQL (2704 bytes).
	MaxKeyBytes = 1024
	// MaxUserBytes bounds a user id.
	MaxUserBytes = 256
)

// Draft makes a draft of one row. It depends on nothing but the rule and the
// row: the same row gives the same draft on every replica, today and tomorrow.
// The error is always a *BadRow.
//
// The draft keeps the row itself, which must not be changed afterwards.
func (r *Rule) Draft(row Row) (Draft, error) {
	d := Draft{Row: row}
	var err error
	if d.Key, err = r.draftKey(row); err != nil {
		return Draft{}, err
	}
	if d.VersionHash, err = r.draftVersion(row); err != nil {
		return Draft{}, err
	}
	if d.Order, err = r.draftOrder(row); err != nil {
		return Draft{}, err
	}
	if d.User, err = r.draftUser(row); err != nil {
		return Draft{}, err
	}
	if d.Variant, err = r.draftVariant(row); err != nil {
		return Draft{}, err
	}
	if d.Provisional, err = r.draftProvisional(row); err != nil {
		return Draft{}, err
	}
	d.Category = r.variants[d.Variant].category
	if err := r.draftTimes(row, &d); err != nil {
		return Draft{}, err
	}
	return d, nil
}

// column returns a column's value, which may be null.
func (r *Rule) column(row Row, name string) (any, error) {
	v, ok := row[name]
	if !ok {
		return nil, r.badRow(BadMissingColumn, "column %q", name)
	}
	return v, nil
}

func (r *Rule) draftKey(row Row) (string, error) {
	for _, name := range r.key {
		v, err := r.column(row, name)
		if err != nil {
			return "", err
		}
		if v == nil {
			return "", r.badRow(BadNullKey, "column %q", name)
		}
	}
	key, err := r.canonical(row, r.key)
	if err != nil {
		return "", err
	}
	if len(key) > MaxKeyBytes {
		return "", r.badRow(BadLongKey, "%d bytes, more than %d", len(key), MaxKeyBytes)
	}
	return key, nil
}

// draftVersion hashes the version columns; null is a value like any other. A
// rule without them has one version of each key.
func (r *Rule) draftVersion(row Row) (string, error) {
	text, err := r.canonical(row, r.version)
	if err != nil {
		return "", err
	}
	return shortHash(16, text), nil
}

// canonical is the JSON array of some columns in canonical form.
func (r *Rule) canonical(row Row, columns []string) (string, error) {
	var buf bytes.Buffer
	buf.WriteByte('[')
	for i, name := range columns {
		v, err := r.column(row, name)
		if err != nil {
			return "", err
		}
		if i > 0 {
			buf.WriteByte(',')
		}
		if err := canonicalJSON(&buf, v); err != nil {
			return "", r.badRow(BadValue, "column %q: %s", name, err)
		}
	}
	buf.WriteByte(']')
	return buf.String(), nil
}

func (r *Rule) draftOrder(row Row) (int64, error) {
	if r.order == "" {
		return 0, nil
	}
	v, err := r.column(row, r.order)
	if err != nil {
		return 0, err
	}
	if text, ok := v.(string); ok {
		t, err := time.Parse(time.RFC3339Nano, text)
		// UnixMicro is defined for years -290307 to 294246; RFC 3339 has 0000 to 9999.
		if err != nil {
			return 0, r.badRow(BadOrder, "column %q is text but no RFC 3339 time", r.order)
		}
		return t.UnixMicro(), nil
	}
	text, ok := numberText(v)
	if !ok {
		return 0, r.badRow(BadOrder, "column %q is null or neither a number nor a time", r.order)
	}
	n, err := wholeNumber(text)
	if err != nil {
		return 0, r.badRow(BadOrder, "column %q is no whole number of 64 bits", r.order)
	}
	return n, nil
}

func (r *Rule) draftUser(row Row) (devices.UserID, error) {
	if r.Audience.Kind != AudienceUser {
		return "", nil
	}
	v, err := r.column(row, r.Audience.Column)
	if err != nil {
		return "", err
	}
	user, ok := plainText(v)
	switch {
	case !ok || user == "":
		return "", r.badRow(BadNoUser, "column %q is null or empty", r.Audience.Column)
	case len(user) > MaxUserBytes || !utf8.ValidString(user) || strings.ContainsRune(user, 0):
		// PostgreSQL's text takes neither NUL nor invalid UTF-8.
		return "", r.badRow(BadNoUser, "column %q is no name of a user", r.Audience.Column)
	}
	return devices.UserID(user), nil
}

func (r *Rule) draftVariant(row Row) (string, error) {
	if r.variantColumn == "" {
		return "", nil
	}
	v, err := r.column(row, r.variantColumn)
	if err != nil {
		return "", err
	}
	variant, ok := plainText(v)
	if !ok {
		return "", r.badRow(BadUnknownVariant, "column %q is null", r.variantColumn)
	}
	if _, ok := r.variants[variant]; !ok || variant == "" {
		return "", r.badRow(BadUnknownVariant, "column %q is %.40q", r.variantColumn, variant)
	}
	return variant, nil
}

// plainText is the text of a scalar that names something.
func plainText(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case bool:
		if v {
			return "true", true
		}
		return "false", true
	}
	text, ok := numberText(v)
	if !ok {
		return "", false
	}
	number, err := canonicalNumber(text)
	return number, err == nil
}

func (r *Rule) draftTimes(row Row, d *Draft) error {
	var err error
	if r.Watermark != nil {
		if d.Arrival, err = r.draftTime(row, r.Watermark.Column); err != nil {
			return err
		}
	}
	if r.expires != "" {
		if d.ExpiresAt, err = r.draftTime(row, r.expires); err != nil {
			return err
		}
	}
	if r.ttlFrom != "" {
		if d.DueAt, err = r.draftTime(row, r.ttlFrom); err != nil {
			return err
		}
		d.ExpiresAt = d.DueAt.Add(r.ttlFor)
	}
	return nil
}

func (r *Rule) draftTime(row Row, column string) (time.Time, error) {
	v, err := r.column(row, column)
	if err != nil {
		return time.Time{}, err
	}
	t, err := timeValue(v)
	if err != nil {
		return time.Time{}, r.badRow(BadTime, "column %q: %s", column, err)
	}
	return t, nil
}
