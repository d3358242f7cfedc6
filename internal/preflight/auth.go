package preflight

import "context"

// Keys are the keys of the apps' tokens. Check returns nil when there are some
// to verify tokens with.
type Keys interface {
	Check(ctx context.Context) error
}

// JWKS checks that the issuer's keys can be read and that one of them is usable,
// and that tokens must be made for somebody: an issuer signs with the same keys
// for other services too, and Google's for every project of Firebase.
func JWKS(keys Keys, audience string) Check {
	return Check{Name: "auth", Do: func(ctx context.Context) (found []Finding) {
		if audience == "" {
			found = append(found, warningf("auth.audience", "set auth.audience, and auth.issuer, to what the tokens of your app say in aud and iss",
				"is not set, so that tokens which the issuer made for any other service are accepted"))
		}
		if err := keys.Check(ctx); err != nil {
			found = append(found, errorf("auth.jwks_url", "correct the address (the issuer's /.well-known/openid-configuration names it as jwks_uri), or open the way to it; keys must be RSA of 2048 bits or more, P-256 or Ed25519, and for signatures",
				"the issuer's keys cannot be used: %s", err))
		}
		return found
	}}
}
