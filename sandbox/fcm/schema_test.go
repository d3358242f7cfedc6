package fcm_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/sandbox/fcm"
)

// discovery is the part of Google's description of the API that has the
// request's schema.
type discovery struct {
	Schemas map[string]struct {
		Properties map[string]property `json:"properties"`
	} `json:"schemas"`
}

type property struct {
	Ref                  string    `json:"$ref"`
	Type                 string    `json:"type"`
	Format               string    `json:"format"`
	Enum                 []string  `json:"enum"`
	Items                *property `json:"items"`
	AdditionalProperties *property `json:"additionalProperties"`
}

func loadDiscovery(t *testing.T) discovery {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "google.golang.org/api").Output()
	require.NoError(t, err)
	dir := strings.TrimSpace(string(out))
	require.NotEmpty(t, dir, "google.golang.org/api is not in the module cache")
	b, err := os.ReadFile(filepath.Join(dir, "fcm", "v1", "fcm-api.json"))
	require.NoError(t, err)
	var d discovery
	require.NoError(t, json.Unmarshal(b, &d))
	return d
}

// site is one field somewhere in the request.
type site struct {
	path []string // camelCase names from the root
	prop property
}

func (d discovery) walk(schema string, path []string, visit func(site)) {
	for name, p := range d.Schemas[schema].Properties {
		at := append(slices.Clone(path), name)
		visit(site{at, p})
		if p.Ref != "" && p.Ref != schema {
			d.walk(p.Ref, at, visit)
		}
	}
}

func targets() []string { return []string{"token", "topic", "condition", "fid"} }

// good and bad are a fitting and an unfitting value of a property, as JSON.
func (p property) good(name string) string {
	switch {
	case name == "link" || name == "image":
		return `"https://a.example/x"`
	case name == "color" && p.Ref == "":
		return `"#a0b1c2"`
	case slices.Contains(targets(), name):
		return `"x"` // the target is replaced by the caller
	case strings.HasSuffix(p.Ref, "LightSettings"):
		return `{"color":{},"lightOnDuration":"1s","lightOffDuration":"1s"}`
	case p.Ref != "":
		return `{}`
	case p.Type == "array":
		return "[" + p.Items.good("") + "]"
	case p.Type == "object":
		return `{"k":"v"}`
	case p.Type == "boolean":
		return `true`
	case p.Type == "integer", p.Type == "number":
		return `1`
	case len(p.Enum) > 0:
		return `"` + p.Enum[len(p.Enum)-1] + `"`
	case p.Format == "google-duration":
		return `"1.5s"`
	case p.Format == "google-datetime":
		return `"2026-11-23T15:05:00Z"`
	}
	return `"text"`
}

func (p property) bad() []string {
	switch {
	case p.Ref != "", p.Type == "object":
		bad := []string{`"text"`, `12`, `[{}]`, `true`}
		if p.AdditionalProperties != nil && p.AdditionalProperties.Type == "string" {
			bad = append(bad, `{"k":12}`, `{"k":{}}`, `{"k":["v"]}`, `{"k":null}`)
		}
		return bad
	case p.Type == "array":
		bad := []string{`{}`, `12`}
		for _, b := range p.Items.bad() {
			bad = append(bad, "["+b+"]")
		}
		return bad
	case p.Type == "boolean":
		return []string{`"yes"`, `1`, `{}`, `[true]`}
	case p.Type == "integer":
		return []string{`"one"`, `1.5`, `4294967296`, `true`, `{}`, `[1]`}
	case p.Type == "number":
		return []string{`"one"`, `true`, `{}`, `[1]`}
	case len(p.Enum) > 0:
		return []string{`"NO_SUCH_VALUE"`, `99`, `true`, `{}`, `["` + p.Enum[0] + `"]`}
	case p.Format == "google-duration":
		return []string{`"1"`, `"1m"`, `"1.0000000001s"`, `"s"`, `1`, `{}`}
	case p.Format == "google-datetime":
		return []string{`"today"`, `"2026-11-23"`, `1795446300`, `{}`}
	}
	return []string{`12`, `true`, `{}`, `["text"]`}
}

func snake(camel string) string {
	var b strings.Builder
	for _, c := range camel {
		if unicode.IsUpper(c) {
			b.WriteByte('_')
			c = unicode.ToLower(c)
		}
		b.WriteRune(c)
	}
	return b.String()
}

// request nests a value at a path and adds a target where none is.
func request(token string, path []string, value string, spell func(string) string) string {
	out := value
	for i, name := range slices.Backward(path) {
		inner := ""
		switch {
		case i == 1 && !slices.Contains(targets(), path[1]):
			inner = `"token":"` + token + `",`
		case i == 0 && path[0] != "message":
			inner = `"message":{"token":"` + token + `"},`
		}
		if parent := i > 0 && path[i-1] == "lightSettings"; parent {
			for _, f := range []string{"color", "lightOnDuration", "lightOffDuration"} {
				if f != name {
					v := `"1s"`
					if f == "color" {
						v = `{}`
					}
					inner += `"` + f + `":` + v + `,`
				}
			}
		}
		if strings.HasSuffix(name, "LocArgs") {
			inner += `"` + strings.TrimSuffix(name, "Args") + `Key":"k",`
		}
		out = "{" + inner + `"` + spell(name) + `":` + out + "}"
	}
	return out
}

// TestSchemaWalk holds the stand-in against the discovery document: every
// field, everywhere, in both spellings.
func TestSchemaWalk(t *testing.T) {
	t.Parallel()
	d := loadDiscovery(t)
	srv := start(t, fcm.Config{DeviceQuota: -1})
	c := raw(t, srv)
	token := srv.MintToken(fcm.Android)
	same := func(s string) string { return s }
	fieldsSeen := 0
	d.walk("SendMessageRequest", nil, func(s site) {
		fieldsSeen++
		name := s.path[len(s.path)-1]
		value := s.prop.good(name)
		if name == "message" || name == "token" {
			value = strings.NewReplacer(`"x"`, `"`+token+`"`, `{}`, `{"token":"`+token+`"}`).Replace(value)
		}
		if name == "fid" {
			value = `"` + srv.MintFID(fcm.IOS) + `"`
		}
		if name == "condition" {
			value = `"'x' in topics"`
		}
		at := strings.Join(s.path, ".")
		for _, spell := range []func(string) string{same, snake} {
			body := request(token, s.path, value, spell)
			require.Equal(t, http200, c.send(body).Status, "%s: %s: %s", at, body, c.send(body).Body)
			// Unset fields may be written as null.
			if name != "message" && !slices.Contains(targets(), name) && !light(s.path) {
				require.Equal(t, http200, c.send(request(token, s.path, `null`, spell)).Status, at)
			}
			for _, bad := range s.prop.bad() {
				body := request(token, s.path, bad, spell)
				requireFrontEnd(t, c.send(body), body)
			}
		}
		if s.prop.Ref != "" {
			body := request(token, append(slices.Clone(s.path), "noSuchField"), `1`, same)
			r := c.send(body)
			requireFrontEnd(t, r, body)
			require.Contains(t, r.Error.Message, `Unknown name "noSuchField" at '`)
		}
	})
	require.Greater(t, fieldsSeen, 60)
}

const http200 = 200

// light reports a required part of light settings.
func light(path []string) bool { return len(path) > 1 && path[len(path)-2] == "lightSettings" }

// requireFrontEnd wants the refusal of the API front end: a BadRequest with
// violations and nothing of FCM's own.
func requireFrontEnd(t *testing.T, r *reply, body string) {
	t.Helper()
	require.Equal(t, 400, r.Status, body)
	require.Equal(t, "INVALID_ARGUMENT", r.Error.Status, body)
	require.Equal(t, []string{"BadRequest"}, r.types(), body)
	require.NotEmpty(t, r.Error.Details[0]["fieldViolations"], body)
	require.Regexp(t, `^Invalid (value at|JSON payload received)`, r.Error.Message, body)
}
