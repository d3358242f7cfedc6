package api

import (
	"context"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"

	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/internal/fault"
)

// Authenticator finds out who presents a bearer token.
type Authenticator interface {
	// Authenticate returns the user that the token speaks for. It returns an
	// Unauthorized fault, whose message the caller may see, for a token that is
	// not good, and another kind when it could not find out.
	Authenticate(ctx context.Context, token string) (devices.UserID, error)
}

// maxTokenLen bounds a bearer token, in bytes; a larger one is not looked at.
const maxTokenLen = 8 << 10

type userKey struct{}

// userOf returns the user whom authenticate let in. It panics outside of a
// route behind it: that is a mistake in the wiring, and must not pass as
// nobody's request.
func userOf(ctx context.Context) devices.UserID {
	user, ok := ctx.Value(userKey{}).(devices.UserID)
	if !ok {
		panic("api: route without authentication asks for its user")
	}
	return user
}

// anonymous is the security requirement of an operation that anybody may call.
// It stands in the document as well as it opens the door, so that an open route
// cannot be one by forgetting something.
func anonymous() []map[string][]string { return []map[string][]string{{}} }

func isAnonymous(op *huma.Operation) bool {
	return len(op.Security) == 1 && len(op.Security[0]) == 0
}

// authenticate lets a request pass whose bearer token the Authenticator accepts.
func (s *server) authenticate(hctx huma.Context, next func(huma.Context)) {
	r, w := humachi.Unwrap(hctx)
	ctx := hctx.Context()
	if isAnonymous(hctx.Operation()) {
		// What anybody may read, a page of any origin may.
		w.Header().Set("Access-Control-Allow-Origin", "*")
		next(hctx)
		return
	}
	token, err := bearerToken(r.Header)
	if err != nil {
		// RFC 6750, section 3.1: without credentials, no error code.
		w.Header().Set("WWW-Authenticate", `Bearer realm="bugle"`)
		writeProblem(w, problemOf(ctx, s.log, err))
		return
	}
	user, err := s.auth.Authenticate(ctx, token)
	if err == nil {
		err = user.Validate()
		if err != nil {
			err = fault.Wrap(fault.Unauthorized, err, "the token's subject is not valid")
		}
	}
	if err != nil {
		p := problemOf(ctx, s.log, err)
		if p.Status == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", `Bearer realm="bugle", error="invalid_token", error_description="`+quotable(p.Detail)+`"`)
			s.log.Debug().Err(err).Str("request_id", requestID(ctx)).Msg("token refused")
		}
		writeProblem(w, p)
		return
	}
	next(huma.WithValue(hctx, userKey{}, user))
}

func bearerToken(h http.Header) (string, error) {
	values := h.Values("Authorization")
	if len(values) != 1 {
		return "", fault.New(fault.Unauthorized, "one Authorization header with a bearer token is needed")
	}
	scheme, token, ok := strings.Cut(values[0], " ")
	token = strings.TrimSpace(token)
	if !ok || !strings.EqualFold(scheme, "Bearer") || token == "" || len(token) > maxTokenLen {
		return "", fault.New(fault.Unauthorized, "the Authorization header holds no bearer token")
	}
	return token, nil
}

// quotable drops what may not stand in an error_description (RFC 6750, section 3).
func quotable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || r == '"' || r == '\\' {
			return -1
		}
		return r
	}, s)
}
