package notifier_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/internal/fault"
	"github.com/bugle-push/bugle/notifier"
)

// listOf keeps what was set, chunk by chunk.
type listOf struct {
	chunks [][]notifier.Suppression
	err    error
	// more are in force for longer than any file says.
	more []notifier.SuppressionKey
}

func (l *listOf) Suppress(_ context.Context, _ notifier.Actor, set []notifier.Suppression, how notifier.Shortening) (done notifier.SuppressReport, err error) {
	if l.err != nil {
		return done, l.err
	}
	if how != notifier.KeepLonger {
		return done, errors.New("an import must not shorten, nor stop at who is suppressed for longer")
	}
	l.chunks = append(l.chunks, append([]notifier.Suppression(nil), set...))
	for _, s := range set {
		if slices.Contains(l.more, s.Key()) {
			done.Kept = append(done.Kept, s.Key())
			continue
		}
		done.Changed++
	}
	return done, nil
}

// What a file says less of than the list is kept, and told by its lines.
func TestAFileShortensNothing(t *testing.T) {
	t.Parallel()
	list := &listOf{more: []notifier.SuppressionKey{{User: "ann", Reason: notifier.ReasonCoolOff}, {User: "u1100", Reason: notifier.ReasonCoolOff}}}
	var text strings.Builder
	text.WriteString("user,reason\n\nann,jurisdiction\nann,cool_off\n")
	for i := range 1200 {
		fmt.Fprintf(&text, "u%d,cool_off\n", i)
	}
	report, err := notifier.ImportSuppressions(t.Context(), list, operator, strings.NewReader(text.String()), notifier.SuppressionCSV)
	require.NoError(t, err)
	require.Equal(t, notifier.ImportReport{Lines: 1202, Changed: 1200, Unchanged: 2, Kept: 2, KeptLines: []int{4, 1105}}, report)
}

func TestAListIsReadLineByLine(t *testing.T) {
	t.Parallel()
	until := time.Date(2027, 3, 1, 0, 0, 0, 0, time.UTC)
	ann := notifier.Suppression{User: "ann", Reason: notifier.ReasonSelfExclusion, Class: notifier.SuppressAll, Until: until, Note: `by "phone", twice`}
	eve := notifier.Suppression{User: "eve, the 2nd", Reason: notifier.ReasonCoolOff, Class: notifier.SuppressService}
	for name, c := range map[string]struct {
		format notifier.SuppressionFormat
		text   string
	}{
		"csv": {notifier.SuppressionCSV, "\xef\xbb\xbfuntil,user,reason,class,note\r\n" +
			"2027-03-01T01:00:00+01:00,ann,self_exclusion,all,\"by \"\"phone\"\", twice\"\r\n\r\n,\"eve, the 2nd\",cool_off,,\r\n"},
		"ndjson": {notifier.SuppressionNDJSON, `{"user":"ann","reason":"self_exclusion","class":"all","until":"2027-03-01T00:00:00Z","note":"by \"phone\", twice"}` +
			"\n\n" + `{"user":"eve, the 2nd","reason":"cool_off","set_by":"bob"}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			list := &listOf{}
			report, err := notifier.ImportSuppressions(t.Context(), list, operator, iotest.OneByteReader(strings.NewReader(c.text)), c.format)
			require.NoError(t, err)
			require.Equal(t, notifier.ImportReport{Lines: 2, Changed: 2}, report)
			require.Equal(t, [][]notifier.Suppression{{ann, eve}}, list.chunks)
		})
	}
}

func TestAWrongLineLeavesItsChunkOut(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	text.WriteString("user,reason\n")
	for i := range 2500 {
		reason := "cool_off"
		if i == 1200 || i == 1300 {
			reason = "boredom"
		}
		fmt.Fprintf(&text, "u%d,%s\n", i, reason)
	}
	list := &listOf{}
	report, err := notifier.ImportSuppressions(t.Context(), list, operator, strings.NewReader(text.String()), notifier.SuppressionCSV)
	require.NoError(t, err)
	const message = "reason: wants one of self_exclusion, cool_off, account_closed, jurisdiction"
	require.Equal(t, notifier.ImportReport{
		Lines: 2500, Changed: 1500, Wrong: 2,
		Errors: []notifier.LineError{{Line: 1202, Message: message}, {Line: 1302, Message: message}},
	}, report)
	require.Len(t, list.chunks, 2)
	require.Equal(t, devices.UserID("u0"), list.chunks[0][0].User)
	require.Equal(t, devices.UserID("u2000"), list.chunks[1][0].User)
}

func TestAWrongLineSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{"user":"ann","reason":"cool_off","util":"2027-03-01T00:00:00Z"}`:             "is not a JSON object with only the members",
		`{"user":"ann","reason":"cool_off"} {}`:                                        "more than one JSON value",
		`["ann"]`:                                                                      "is not a JSON object",
		`{"user":"ann","reason":"cool_off","until":"tomorrow"}`:                        "until: wants a time such as",
		`{"user":"ann","reason":"cool_off","class":"marketing"}`:                       "cool_off stops service as well",
		`{"user":"","reason":"cool_off"}`:                                              "user: wants 1 to 128 bytes",
		`{"user":"ann","reason":"cool_off","from":"0001-01-01T00:00:00Z"} x`:           "more than one JSON value",
		`{"user":"ann","reason":"cool_off","from":"1969-01-01T00:00:00Z"}`:             "from: wants a year",
		`{"user":"ann","reason":"cool_off","note":"` + "a\\u0000" + `"}`:               "note: wants at most 500 characters on one line",
		`{"user":"ann","reason":"cool_off","note":"` + strings.Repeat("é", 501) + `"}`: "note: wants at most",
	} {
		report, err := notifier.ImportSuppressions(t.Context(), &listOf{}, operator, strings.NewReader(text), notifier.SuppressionNDJSON)
		require.NoError(t, err)
		require.Equal(t, 1, report.Wrong, text)
		require.Contains(t, report.Errors[0].Message, want)
	}
	for text, want := range map[string]string{
		"":                     "the file is empty",
		"\xef\xbb\xbf\n \n":    "the file is empty",
		"user\nann\n":          "user and reason among them",
		"user,reason,reason\n": "column 3",
		"user,reason,colour\n": "column 3",
		"\"user,reason\n":      "not CSV",
		"user,reason\n" + strings.Repeat("x", 1<<15): "line 2 is longer",
	} {
		_, err := notifier.ImportSuppressions(t.Context(), &listOf{}, operator, strings.NewReader(text), notifier.SuppressionCSV)
		require.ErrorContains(t, err, want)
		require.Equal(t, fault.Invalid, fault.KindOf(err))
	}
	report, err := notifier.ImportSuppressions(t.Context(), &listOf{}, operator, strings.NewReader("user,reason\nann\nann,cool_off,all\nann,\"x\n"), notifier.SuppressionCSV)
	require.NoError(t, err)
	require.Equal(t, 3, report.Wrong)
}

func TestAnImportThatBreaksOffSaysWhatIsIn(t *testing.T) {
	t.Parallel()
	text := "user,reason\n" + strings.Repeat("ann,cool_off\n", 1500)
	list := &listOf{}
	report, err := notifier.ImportSuppressions(t.Context(), list, operator,
		io.MultiReader(strings.NewReader(text), iotest.ErrReader(io.ErrUnexpectedEOF)), notifier.SuppressionCSV)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.Equal(t, 1000, report.Changed)
	full := errors.New("the disk is full")
	_, err = notifier.ImportSuppressions(t.Context(), &listOf{err: full}, operator, strings.NewReader(text), notifier.SuppressionCSV)
	require.ErrorIs(t, err, full)
}

// A line of which only the beginning has arrived names somebody else, or means something else.
func TestALineThatBreaksOffIsNotRead(t *testing.T) {
	t.Parallel()
	for _, rest := range []string{"cool_off,annabel", "cool_off,annabel\ncool_off,ev", "cool_off,annabel\r\n"} {
		var users []devices.UserID
		var ended error
		broken := io.MultiReader(strings.NewReader("reason,user\n"+rest), iotest.ErrReader(io.ErrUnexpectedEOF))
		for line, err := range notifier.ReadSuppressions(broken, notifier.SuppressionCSV) {
			if ended = err; err == nil {
				users = append(users, line.Suppression.User)
			}
		}
		require.ErrorIs(t, ended, io.ErrUnexpectedEOF)
		whole := strings.Count(rest, "\n")
		require.Len(t, users, whole, "%q", rest)
	}
	list := &listOf{}
	_, err := notifier.ImportSuppressions(t.Context(), list, operator, strings.NewReader("reason,user\ncool_off,annabel"), notifier.SuppressionCSV)
	require.NoError(t, err)
	require.Len(t, list.chunks, 1, "the last line of a whole file needs no end")
}

// What looks like a user and is another one would be suppressed in the place of the one who is meant.
func TestAUserWhoWasMangledIsAWrongLine(t *testing.T) {
	t.Parallel()
	for text, format := range map[string]notifier.SuppressionFormat{
		`{"user":"J` + "\xfc" + `rgen","reason":"cool_off"}`: notifier.SuppressionNDJSON,
		`{"user":"J\ud83drgen","reason":"cool_off"}`:         notifier.SuppressionNDJSON,
		"user,reason\nJ\xfcrgen,cool_off":                    notifier.SuppressionCSV,
		"user,reason\nann ,cool_off":                         notifier.SuppressionCSV,
		"reason,user\ncool_off, ann":                         notifier.SuppressionCSV,
		"reason,user\ncool_off,ann\u00a0":                    notifier.SuppressionCSV,
		"user,reason\n\ufeffann,cool_off":                    notifier.SuppressionCSV,
		`{"user":"ann","reason":"cool_off"}}`:                notifier.SuppressionNDJSON,
		`{"user":"ann","reason":"cool_off"}]`:                notifier.SuppressionNDJSON,
		`{"user":"ann","reason":"cool_off","user":"eve"}`:    notifier.SuppressionNDJSON,
	} {
		list := &listOf{}
		report, err := notifier.ImportSuppressions(t.Context(), list, operator, strings.NewReader(text), format)
		require.NoError(t, err)
		require.Equal(t, 1, report.Wrong, "%q", text)
		require.Empty(t, list.chunks)
	}
	list := &listOf{}
	_, err := notifier.ImportSuppressions(t.Context(), list, operator, strings.NewReader("user,reason\n\" ann\",cool_off\n"), notifier.SuppressionCSV)
	require.NoError(t, err)
	require.Equal(t, devices.UserID(" ann"), list.chunks[0][0].User, "quoted, it is meant")
}

// A user has one suppression for each reason: of two in a file one would be lost, and perhaps the one that
// counts now.
func TestTwoLinesForTheSameUserAndReasonMustSayTheSame(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	text.WriteString("user,reason,from,until\nann,cool_off,2026-01-01T00:00:00Z,2026-02-01T00:00:00Z\n")
	for i := range 1500 {
		fmt.Fprintf(&text, "u%d,cool_off,,\n", i)
	}
	text.WriteString("ann,jurisdiction,,\nann,cool_off,2026-01-01T00:00:00Z,2026-02-01T00:00:00Z\n")
	same := text.String()
	list := &listOf{}
	report, err := notifier.ImportSuppressions(t.Context(), list, operator, strings.NewReader(same), notifier.SuppressionCSV)
	require.NoError(t, err)
	require.Zero(t, report.Wrong, "%v", report.Errors)

	text.WriteString("ann,cool_off,2026-03-01T00:00:00Z,2026-04-01T00:00:00Z\n")
	list = &listOf{}
	report, err = notifier.ImportSuppressions(t.Context(), list, operator, strings.NewReader(text.String()), notifier.SuppressionCSV)
	require.NoError(t, err)
	require.Equal(t, []notifier.LineError{{Line: 1505, Message: "says otherwise than an earlier line for the same user and reason"}}, report.Errors)
	require.Len(t, list.chunks, 1, "its chunk is left out, and ann is suppressed as the first one says")
}

// What was read is written so that it is read as the same.
func FuzzSuppressionsAreReadAsTheyWereWritten(f *testing.F) {
	f.Add("user,reason,class,from,until,note\nann,cool_off,all,,2027-03-01T00:00:00Z,\"a, \"\"b\"\"\"\n", true)
	f.Add(`{"user":"é\u2028","reason":"jurisdiction","class":"marketing","note":"<b>"}`+"\n{}", false)
	f.Fuzz(func(t *testing.T, text string, asCSV bool) {
		format := notifier.SuppressionNDJSON
		if asCSV {
			format = notifier.SuppressionCSV
		}
		var list []notifier.Suppression
		for line, err := range notifier.ReadSuppressions(strings.NewReader(text), format) {
			if err != nil {
				break
			}
			if line.Wrong != "" {
				require.Empty(t, line.Suppression)
				continue
			}
			list = append(list, line.Suppression)
		}
		for _, format := range []notifier.SuppressionFormat{notifier.SuppressionCSV, notifier.SuppressionNDJSON} {
			var out bytes.Buffer
			require.NoError(t, notifier.WriteSuppressions(&out, format, true, list))
			var again []notifier.Suppression
			for line, err := range notifier.ReadSuppressions(&out, format) {
				require.NoError(t, err)
				require.Empty(t, line.Wrong)
				again = append(again, line.Suppression)
			}
			require.Equal(t, list, again)
		}
	})
}
