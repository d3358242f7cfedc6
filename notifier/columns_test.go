package notifier_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/notifier"
)

func TestWhatARuleMayCallACategoryAUserCanMute(t *testing.T) {
	t.Parallel()
	longest := strings.Repeat("c", 64)
	r := compile(t, `
rules:
  - id: r
    schedule: "@every 1m"
    class: service
    query: SELECT k, expires FROM x
    key: [k]
    expires: expires
    audience: all
    notification: {category: `+longest+`, title: "{{.k}}"}
`)
	require.Equal(t, []string{longest}, r.Categories())
	_, err := devices.Preferences{Muted: r.Categories()}.Normalize()
	require.NoError(t, err)
}

func TestColumnsNameEveryUse(t *testing.T) {
	t.Parallel()
	r := compile(t, `
rules:
  - id: everything
    schedule: "@every 1m"
    class: service
    query: SELECT 1 FROM x WHERE ROWTIME >= :since AND ROWTIME < :until
    watermark: {column: arrived}
    key: [k1, k2]
    version: [v1]
    order: o
    audience: {user: u}
    ttl: {from: happened, for: 1h}
    variant: kind
    link: "app://{{.linked}}"
    data: {d: "{{.d1}}"}
    variants:
      A:
        category: c
        title: "{{.t1}} {{localtime .t2}}{{if .cond}}{{.then}}{{else}}{{.otherwise}}{{end}}"
        body: "{{with .outer}}{{.inner}} {{$.again}}{{end}}{{$v := .assigned}}{{$v}} {{.t2}} {{minutes .m}} {{or .x (upper .y)}} {{money .amount .code}} {{odds .price}}"
        locales: {de: {title: "{{.german}}", body: "{{.struct.field}}"}}
`)
	got := map[string]notifier.ColumnNeed{}
	for _, u := range r.Columns() {
		got[u.Path+" "+u.Column] = u.Need
	}
	require.Equal(t, map[string]notifier.ColumnNeed{
		"watermark.column arrived": notifier.NeedTime,
		"key[0] k1":                notifier.NeedAny, "key[1] k2": notifier.NeedAny,
		"version[0] v1": notifier.NeedAny, "order o": notifier.NeedOrder,
		"audience.user u": notifier.NeedScalar, "variant kind": notifier.NeedScalar,
		"ttl.from happened":                  notifier.NeedTime,
		"variants.A.link linked":             notifier.NeedAny,
		"variants.A.data.d d1":               notifier.NeedAny,
		"variants.A.title t1":                notifier.NeedAny,
		"variants.A.title t2":                notifier.NeedTime,
		"variants.A.title cond":              notifier.NeedAny,
		"variants.A.title then":              notifier.NeedAny,
		"variants.A.title otherwise":         notifier.NeedAny,
		"variants.A.body outer":              notifier.NeedAny,
		"variants.A.body again":              notifier.NeedAny,
		"variants.A.body assigned":           notifier.NeedAny,
		"variants.A.body t2":                 notifier.NeedAny,
		"variants.A.body m":                  notifier.NeedTime,
		"variants.A.body x":                  notifier.NeedAny,
		"variants.A.body y":                  notifier.NeedScalar,
		"variants.A.body amount":             notifier.NeedNumber,
		"variants.A.body code":               notifier.NeedScalar,
		"variants.A.body price":              notifier.NeedNumber,
		"variants.A.locales.de.title german": notifier.NeedAny,
		"variants.A.locales.de.body struct":  notifier.NeedAny,
	}, got)
}
