package ablytoken_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/bugle-push/bugle/internal/fault"
	"github.com/bugle-push/bugle/relay/ablytoken"
)

const key = "bugle0.root:s3cret-part"

func TestATokenSaysWhatAblyWants(t *testing.T) {
	t.Parallel()
	i, err := ablytoken.New(ablytoken.Config{Key: key, TTL: 2 * time.Hour, Registerer: prometheus.NewRegistry()})
	require.NoError(t, err)
	token, err := i.Token("punter-77")
	require.NoError(t, err)

	claims := jwt.MapClaims{}
	parsed, err := jwt.ParseWithClaims(token.JWT, claims, func(*jwt.Token) (any, error) { return []byte("s3cret-part"), nil }, jwt.WithValidMethods([]string{"HS256"}))
	require.NoError(t, err)
	require.Equal(t, map[string]any{"alg": "HS256", "typ": "JWT", "kid": "bugle0.root"}, parsed.Header)
	require.Equal(t, "punter-77", claims["x-ably-clientId"])
	require.JSONEq(t, `{"outbound:odds:*":["history","subscribe"],"inbound:betting:*:punter-77":["presence","publish"],"push:user:punter-77":["push-subscribe"]}`,
		claims["x-ably-capability"].(string))
	require.Len(t, claims, 4, "and nothing else")
	require.InDelta(t, 7200, claims["exp"].(float64)-claims["iat"].(float64), 0)
	require.InDelta(t, float64(time.Now().Unix()), claims["iat"].(float64), 10)
	require.Equal(t, token.Expires.Unix(), int64(claims["exp"].(float64)))
	require.NotContains(t, fmt.Sprintf("%v %+v %#v %s", token, token, token, token), token.JWT)
}

func TestUsersWhoseIdsReachFurtherGetNoToken(t *testing.T) {
	t.Parallel()
	i, err := ablytoken.New(ablytoken.Config{Key: key})
	require.NoError(t, err)
	for _, user := range []string{"", "*", "a:b", "a*", "[meta]log", "a]b", "a,b", "a b", " a", "a\n", "a\x00", "a\u200b", "\xff", strings.Repeat("a", 129)} {
		_, err := i.Token(user)
		require.ErrorIs(t, err, ablytoken.ErrUser, "%q", user)
		require.Equal(t, fault.Forbidden, fault.KindOf(err))
	}
	for _, user := range []string{"a", "auth0|62f", "ann@example.com", "Zoë", strings.Repeat("a", 128)} {
		_, err := i.Token(user)
		require.NoError(t, err, user)
	}
}

// Whoever gets a token gets one for channels of their own, whatever they are called.
func TestNoUserReachesAnothersChannel(t *testing.T) {
	t.Parallel()
	i, err := ablytoken.New(ablytoken.Config{Key: key})
	require.NoError(t, err)
	rapid.Check(t, func(t *rapid.T) {
		user := rapid.StringMatching(`[a-c:*\[\], ]{0,8}`).Draw(t, "user")
		token, err := i.Token(user)
		if err != nil {
			return
		}
		require.NotContains(t, strings.ReplaceAll(strings.ReplaceAll(token.Capability, `"outbound:odds:*"`, ""), "inbound:betting:*:", ""), "*")
		require.Equal(t, 1, strings.Count(token.Capability, `"inbound:betting:*:`+user+`"`))
	})
}

func TestAWrongConfigurationIsNamed(t *testing.T) {
	t.Parallel()
	for _, cfg := range []ablytoken.Config{
		{}, {Key: "secret"}, {Key: "app.key:"}, {Key: "key:secret"}, {Key: key, TTL: time.Second}, {Key: key, TTL: 25 * time.Hour},
	} {
		_, err := ablytoken.New(cfg)
		require.Equal(t, fault.Invalid, fault.KindOf(err))
		require.NotContains(t, err.Error(), "s3cret")
	}
}
