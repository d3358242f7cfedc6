package ksqlclient_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/ksqlclient"
)

func TestErrorClasses(t *testing.T) {
	t.Parallel()
	const (
		permanent = ksqlclient.Permanent
		ambiguous = ksqlclient.Ambiguous
		transient = ksqlclient.Transient
	)
	for _, tc := range []struct {
		status, code int
		pull, exec   ksqlclient.Class
		is           error
	}{
		{400, 40000, ambiguous, permanent, nil},
		{400, 40001, ambiguous, permanent, nil},
		{400, 40002, permanent, permanent, nil},
		{400, 40003, transient, transient, nil},
		{400, 40004, permanent, permanent, nil},
		{400, 0, permanent, permanent, nil},
		{401, 40100, permanent, permanent, ksqlclient.ErrUnauthorized},
		{401, 0, permanent, permanent, ksqlclient.ErrUnauthorized},
		{403, 40300, permanent, permanent, ksqlclient.ErrForbidden},
		{403, 40301, permanent, permanent, ksqlclient.ErrForbidden},
		{404, 0, permanent, permanent, nil},
		{404, 40400, permanent, permanent, nil},
		{408, 0, transient, transient, nil},
		{417, 41700, permanent, permanent, nil},
		{421, 42100, permanent, permanent, nil},
		{428, 42801, permanent, permanent, nil},
		{429, 42900, transient, transient, nil},
		{429, 0, transient, transient, nil},
		{500, 50000, transient, transient, nil},
		{502, 0, transient, transient, nil},
		{503, 0, transient, transient, ksqlclient.ErrUnavailable},
		{503, 50000, transient, transient, ksqlclient.ErrUnavailable},
		{503, 50301, transient, transient, ksqlclient.ErrUnavailable},
		{503, 50302, transient, transient, ksqlclient.ErrUnavailable},
		{503, 50303, transient, transient, ksqlclient.ErrUnavailable},
		{503, 50304, transient, transient, ksqlclient.ErrUnavailable},
		{504, 0, transient, transient, nil},
		{307, 0, permanent, permanent, nil},
		{204, 0, permanent, permanent, nil},
	} {
		t.Run(fmt.Sprintf("%d_%d", tc.status, tc.code), func(t *testing.T) {
			t.Parallel()
			body := "<html>proxy</html>"
			if tc.code != 0 {
				body = fmt.Sprintf(`{"@type":"generic_error","error_code":%d,"message":"io.confluent.X: why","new":1}`, tc.code)
			}
			c := answer(t, tc.status, body)
			_, pullErr := c.PullAll(t.Context(), selectAll, nil)
			_, execErr := c.Exec(t.Context(), "LIST STREAMS;", nil)
			for err, want := range map[error]ksqlclient.Class{pullErr: tc.pull, execErr: tc.exec} {
				e, ok := errors.AsType[*ksqlclient.Error](err)
				require.True(t, ok, "%v", err)
				require.Equal(t, tc.status, e.Status)
				require.Equal(t, tc.code, e.Code)
				require.Equal(t, want, e.Class())
				require.Equal(t, want, ksqlclient.Classify(err))
				require.Equal(t, want != permanent, e.Retryable())
				require.Equal(t, want != permanent, ksqlclient.Retryable(err))
				require.NotErrorIs(t, err, ksqlclient.ErrInStream)
				for _, sentinel := range []error{ksqlclient.ErrUnauthorized, ksqlclient.ErrForbidden, ksqlclient.ErrUnavailable} {
					require.Equal(t, errors.Is(tc.is, sentinel), errors.Is(err, sentinel), "%v", sentinel)
				}
			}
		})
	}
}

func TestInStreamErrorClasses(t *testing.T) {
	t.Parallel()
	for code, want := range map[int]ksqlclient.Class{
		50000: ksqlclient.Transient, 42900: ksqlclient.Transient, 40001: ksqlclient.Ambiguous, 0: ksqlclient.Ambiguous,
		40100: ksqlclient.Permanent, 40301: ksqlclient.Permanent,
	} {
		body := idHeader + fmt.Sprintf(`{"@type":"generic_error","error_code":%d}`, code) + "\n"
		_, err := answer(t, 200, body).PullAll(t.Context(), selectAll, nil)
		require.ErrorIs(t, err, ksqlclient.ErrInStream)
		require.Equal(t, want, ksqlclient.Classify(err), "code %d", code)
	}
}

func TestClassifyOtherErrors(t *testing.T) {
	t.Parallel()
	require.Equal(t, ksqlclient.Permanent, ksqlclient.Classify(context.Canceled))
	require.Equal(t, ksqlclient.Transient, ksqlclient.Classify(context.DeadlineExceeded))
	require.Equal(t, ksqlclient.Transient, ksqlclient.Classify(ksqlclient.ErrUnhealthy))
	require.Equal(t, ksqlclient.Permanent, ksqlclient.Classify(errors.New("other")))

	refused := serve(t, "http/1.1", func(w http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) })
	_, err := refused.Info(t.Context())
	require.Error(t, err)
	require.Equal(t, ksqlclient.Transient, ksqlclient.Classify(err))

	untrusted := serve(t, "https/2", func(http.ResponseWriter, *http.Request) {}, func(c *ksqlclient.Config) { c.CA = nil })
	_, err = untrusted.Info(t.Context())
	require.Error(t, err)
	require.Equal(t, ksqlclient.Permanent, ksqlclient.Classify(err))

	require.Equal(t, "transient ambiguous permanent", fmt.Sprint(ksqlclient.Transient, " ", ksqlclient.Ambiguous, " ", ksqlclient.Permanent))
}

func TestErrorText(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ body, want string }{
		"json":        {`{"error_code":40001,"message":"line\n1:\tbad"}`, "pull rows: ksqldb pull: status 400, code 40001: line 1: bad"},
		"html":        {"<html>\n<h1>Bad  Gateway</h1>\x00</html>", "pull rows: ksqldb pull: status 400: <html> <h1>Bad Gateway</h1> </html>"},
		"empty":       {"", "pull rows: ksqldb pull: status 400"},
		"other json":  {`{"detail":"hidden"}`, "pull rows: ksqldb pull: status 400"},
		"broken json": {`{"message":"hid`, "pull rows: ksqldb pull: status 400"},
		"binary":      {"\xff\xfeab", "pull rows: ksqldb pull: status 400: \uFFFDab"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := answer(t, 400, tc.body).PullAll(t.Context(), selectAll, nil)
			require.EqualError(t, err, tc.want)
		})
	}
	_, err := answer(t, 502, strings.Repeat("é", 100_000)).PullAll(t.Context(), selectAll, nil)
	require.Less(t, len(err.Error()), 700)
	require.Contains(t, err.Error(), "é…")
}

func TestErrorsHideValuesAndCredentials(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 9, 1, 14, 30, 5, 0, time.UTC)
	params := ksqlclient.Params{
		"name": "O'Brien <x>", "short": "ab", "n": 7345, "d": mustDecimal(t, "12.50"), "t": at, "r": ksqlclient.EpochMillis(at),
		"b": []byte("raw bytes"), "ok": true, "f": 1.5e30,
	}
	sql := "SELECT * FROM t WHERE a=:name AND b=:short AND c=:n AND d=:d AND e=:t AND f=:r AND g=:b AND h=:ok AND i=:f;"
	bound, err := ksqlclient.Bind(sql, params)
	require.NoError(t, err)
	hidden := []string{
		"Brien", "ab'", "'AB", "7345", "12.50", "2026", "14:30", "1788273005", "cmF3IGJ5dGVz", "raw bytes", "h=true", "1.5E30", "5E30",
		"hunter2", "a2V5Omh1bnRlcjI=",
	}
	message := fmt.Sprintf("Line: 1, Col: 8: column 'FOO' of table_1 cannot be resolved. o'brien <x> | O'Brien &lt;x&gt; | O&#39;Brien &lt;x&gt; | "+
		"'ab' 'AB' 7345 -7345 12.50 hunter2 Basic a2V5Omh1bnRlcjI= Statement: %s", bound)
	encoded := strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(message)
	withPassword := func(c *ksqlclient.Config) { c.Username, c.Password = "key", "hunter2" }
	for name, c := range map[string]*ksqlclient.Client{
		"refusal":   answer(t, 400, `{"error_code":40001,"message":"`+encoded+`"}`, withPassword),
		"page":      answer(t, 502, message, withPassword),
		"in stream": answer(t, 200, idHeader+`{"@type":"x","error_code":50000,"message":"`+encoded+`"}`+"\n", withPassword),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := c.PullAll(t.Context(), sql, params)
			e, ok := errors.AsType[*ksqlclient.Error](err)
			require.True(t, ok)
			for _, text := range []string{err.Error(), fmt.Sprintf("%+v %#v", e, e)} {
				require.Contains(t, text, "column 'FOO' of table_1 cannot be resolved")
				for _, s := range hidden {
					require.NotContains(t, text, s)
				}
			}
		})
	}
	_, err = answer(t, 200, idHeader+"[\"Brien\"]\n").PullAll(t.Context(), sql, params)
	require.EqualError(t, err, "pull rows: answer does not follow the protocol: row 0: column id: found a string, expected BIGINT")
}
