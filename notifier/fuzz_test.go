package notifier_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/internal/fault"
	"github.com/bugle-push/bugle/notifier"
)

// FuzzCompileRules: a file is either a set of usable rules or an Invalid error
// that names at least one place.
func FuzzCompileRules(f *testing.F) {
	files, err := filepath.Glob("testdata/invalid/*.yaml")
	require.NoError(f, err)
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(f, err)
		f.Add(text)
	}
	f.Add(notifier.BuiltinRules().YAML)
	f.Add([]byte(minimal))
	at := time.Date(2026, 9, 1, 14, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, text []byte) {
		set, err := notifier.CompileRules(notifier.RuleSource{YAML: text})
		if err != nil {
			require.Nil(t, set)
			fe, ok := errors.AsType[*fault.Error](err)
			require.True(t, ok, "%T", err)
			require.Equal(t, fault.Invalid, fe.Kind)
			require.NotEmpty(t, fe.Fields)
			return
		}
		for _, r := range set.All() {
			require.True(t, r.Schedule.Next(at).After(at))
			require.NotEmpty(t, r.Class)
			require.NotEmpty(t, r.Urgency)
			require.NotEmpty(t, r.Mode)
			require.NotEmpty(t, r.Categories())
			require.LessOrEqual(t, len(r.Thread("k")), 32)
			r.Params(notifier.Window{Now: at, Since: at, Until: at})
			if d, err := r.Draft(wonBet()); err == nil && r.Check(d) == nil {
				_, err := r.Render(d, notifier.RenderContext{Locale: "de-CH", Now: at})
				require.NoError(t, err)
			}
		}
		again, err := notifier.CompileRules(notifier.RuleSource{YAML: text})
		require.NoError(t, err)
		require.Equal(t, set.Generation(), again.Generation())
	})
}

// FuzzDraft: any row is a draft or a bad row, the same one each time; and what
// passes Check is rendered for every device.
func FuzzDraft(f *testing.F) {
	set, err := notifier.CompileRules(notifier.BuiltinRules())
	require.NoError(f, err)
	for _, row := range []notifier.Row{
		wonBet(), wonBet("payout", json.Number("1e400")), wonBet("outcome", nil), wonBet("user_id", json.Number("7")),
		race(), race("status", "POSTPONED"), race("starts_at", json.Number("1788273000000")),
	} {
		text, err := json.Marshal(row)
		require.NoError(f, err)
		f.Add(text, "de-CH", "Europe/Zurich", int64(1788271627))
		f.Add(text, "", "", int64(0))
		f.Add(text, "ar-EG-u-nu-arab", "Mars", int64(-1<<40))
	}
	f.Fuzz(func(t *testing.T, text []byte, locale, zone string, now int64) {
		var row notifier.Row
		dec := json.NewDecoder(bytes.NewReader(text))
		dec.UseNumber()
		if dec.Decode(&row) != nil {
			return
		}
		for _, r := range set.All() {
			d, err := r.Draft(row)
			again, errAgain := r.Draft(row)
			require.Equal(t, err, errAgain)
			require.Equal(t, d, again)
			if err == nil {
				require.NotEmpty(t, d.Key)
				require.True(t, json.Valid([]byte(d.Key)))
				require.LessOrEqual(t, len(d.Key), notifier.MaxKeyBytes)
				require.NotEmpty(t, d.VersionHash)
				require.False(t, r.Expiry(d, time.Unix(1788271627, 0)).IsZero())
				err = r.Check(d)
			}
			if err != nil {
				bad, ok := errors.AsType[*notifier.BadRow](err)
				require.True(t, ok, "%T", err)
				require.Contains(t, notifier.BadRowReasons(), bad.Reason)
				continue
			}
			for _, correction := range []bool{false, true} {
				c := notifier.RenderContext{Locale: locale, TimeZone: zone, Now: time.Unix(now, 0), Correction: correction}
				rendered, err := r.Render(d, c)
				require.NoError(t, err)
				require.NotEmpty(t, rendered.Title)
				require.NotContains(t, rendered.Title, "\n")
			}
		}
	})
}
