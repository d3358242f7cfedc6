package preflight

import "context"

// Keys are the keys of the apps' tokens. Check returns nil when there are some
// to verify tokens with.
type Keys interface {
	Check(ctx context.Context) error
}

// JWKS checks that the issuer's keys can be read and that one of them is usable.
func JWKS(keys Keys) Check {
	return Check{Name: "auth", Do: func(ctx context.Context) []Finding {
		if err := keys.Check(ctx); err != nil {
			return []Finding{errorf("auth.jwks_url", "correct the address (the issuer's /.well-known/openid-configuration names it as jwks_uri), or open the way to it; keys must be RSA of 2048 bits or more, P-256 or Ed25519, and for signatures",
				"the issuer's keys cannot be used: %s", err)}
		}
		return nil
	}}
}
