package api

import (
	"context"
	"mime"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"

	"github.com/bugle-push/bugle/relay/ablytoken"
)

// jwtMedia is the media type of a bare JSON Web Token (RFC 7519, section 10.3.1).
const jwtMedia = "application/jwt"

// AblyTokens mints the tokens with which apps connect to Ably.
type AblyTokens interface {
	// Token mints a token for a user. It returns a Forbidden fault for one whose id cannot be
	// part of a channel's name.
	Token(user string) (ablytoken.Token, error)
}

// AblyToken is a token with what it says: Ably's TokenDetails, so that its SDKs
// take the answer as it is (authUrl).
type AblyToken struct {
	Token      string `json:"token" doc:"A JWT for Ably. Whoever has it is the user there, until it expires." example:"eyJhbGciOiJIUzI1NiJ9.e30.c2ln"`
	KeyName    string `json:"keyName" doc:"The Ably key that signed it." example:"xVLyHw.ABCDEF"`
	Issued     int64  `json:"issued" doc:"Milliseconds since 1970." example:"1788270907000"`
	Expires    int64  `json:"expires" doc:"Milliseconds since 1970; get a new one before." example:"1788274507000"`
	Capability string `json:"capability" doc:"What it permits, as JSON: the odds, the user's own betting channels, registering for pushes."`
	ClientID   string `json:"clientId" doc:"The user." example:"ada"`
}

type ablyTokenOutput struct{ Body AblyToken }

func (s *server) registerAblyToken(api huma.API) {
	op := huma.Operation{
		OperationID: "create-ably-token", Method: http.MethodPost, Path: "/v1/ably/token", Tags: []string{"ably"},
		Summary: "Get a token for Ably",
		Description: "With it the app reads live odds and places bets as this user and nobody else. As `authUrl` of Ably's SDKs " +
			"(with `authMethod: 'POST'` and the Authorization header in `authHeaders`) it needs no code of its own. " +
			"With `Accept: application/jwt` the answer is the bare token.",
		Middlewares: huma.Middlewares{s.bareToken},
	}
	handle(s, api, op, s.createAblyToken, ablyTokenExamples()...)
}

func (s *server) createAblyToken(ctx context.Context, _ *struct{}) (*ablyTokenOutput, error) {
	t, err := s.tokens.Token(string(userOf(ctx)))
	if err != nil {
		return nil, err
	}
	return &ablyTokenOutput{Body: AblyToken{
		Token: t.JWT, KeyName: t.KeyName, Issued: t.Issued.UnixMilli(), Expires: t.Expires.UnixMilli(),
		Capability: t.Capability, ClientID: t.ClientID,
	}}, nil
}

// bareToken answers with the token alone where that is what the caller asks for.
func (s *server) bareToken(hctx huma.Context, next func(huma.Context)) {
	if !wantsJWT(hctx.Header("Accept")) {
		next(hctx)
		return
	}
	_, w := humachi.Unwrap(hctx)
	t, err := s.tokens.Token(string(userOf(hctx.Context())))
	if err != nil {
		writeProblem(w, problemOf(hctx.Context(), s.log, err))
		return
	}
	w.Header().Set("Content-Type", jwtMedia)
	_, _ = w.Write([]byte(t.JWT)) // an error means that the client has gone
}

// wantsJWT tells whether a bare token is named before JSON.
func wantsJWT(accept string) bool {
	for part := range strings.SplitSeq(accept, ",") {
		switch media, _, err := mime.ParseMediaType(part); {
		case err != nil:
		case media == jwtMedia:
			return true
		case media == "application/json" || media == "*/*" || media == "application/*":
			return false
		}
	}
	return false
}
