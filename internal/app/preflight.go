package app

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/bugle-push/bugle/api"
	"github.com/bugle-push/bugle/internal/config"
	"github.com/bugle-push/bugle/internal/fault"
	"github.com/bugle-push/bugle/internal/preflight"
	"github.com/bugle-push/bugle/notifier"
	"github.com/bugle-push/bugle/notifier/ablypush"
	"github.com/bugle-push/bugle/notifier/fcm"
)

// googleURL is where FCM is, to be asked for the time.
const googleURL = "https://fcm.googleapis.com/"

// Preflight asks everything that the service would depend on and returns what
// is wrong. The configuration must have been checked (config.Load). It starts
// nothing, sends nothing and changes nothing. now is this machine's clock.
func Preflight(ctx context.Context, cfg config.Config, now func() time.Time) preflight.Report {
	f := &flight{cfg: cfg, now: now}
	defer f.close(ctx)
	return preflight.Run(ctx, []preflight.Check{
		f.rules(), preflight.Database(cfg.Database.URL, databaseOptions(cfg)), f.ksqldb(), f.suppressions(), f.auth(), f.tokens(), f.fcm(ctx), f.ably(), f.ablyTokens(),
		f.kafka(), f.schemaRegistry(), f.clock(),
	})
}

// flight makes the checks as the configuration asks for them.
type flight struct {
	cfg      config.Config
	now      func() time.Time
	compiled []*notifier.Rule
	cleanups []func(context.Context)
}

func (f *flight) close(ctx context.Context) {
	for _, do := range f.cleanups {
		do(ctx)
	}
}

// found is a check whose outcome is known already.
func found(name string, findings ...preflight.Finding) preflight.Check {
	return preflight.Check{Name: name, Do: func(context.Context) []preflight.Finding { return findings }}
}

// failed says what is wrong for an error of a constructor, field by field where it has fields.
func failed(name, path, mend string, err error) preflight.Check {
	fe, ok := errors.AsType[*fault.Error](err)
	if !ok || len(fe.Fields) == 0 {
		return found(name, preflight.Finding{Severity: preflight.Error, Path: path, What: err.Error(), Mend: mend})
	}
	findings := make([]preflight.Finding, len(fe.Fields))
	for i, field := range fe.Fields {
		findings[i] = preflight.Finding{Severity: preflight.Error, Path: field.Path, What: field.Message, Mend: mend}
	}
	return found(name, findings...)
}

func (f *flight) rules() preflight.Check {
	set, err := Rules(f.cfg)
	if err != nil {
		return failed("rules", "rules", "see docs/rules.md; bugle rules check tries a file", err)
	}
	f.compiled = set.All()
	return found("rules")
}

func (f *flight) ksqldb() preflight.Check {
	client, err := NewKSQLClient(f.cfg)
	if err != nil {
		return failed("ksqldb", "ksqldb", "correct the keys of ksqldb", err)
	}
	f.cleanups = append(f.cleanups, func(context.Context) { client.Close() })
	return preflight.KSQL(client, f.compiled, f.now())
}

// suppressions looks at the query that suppressions are imported from.
func (f *flight) suppressions() preflight.Check {
	q, err := suppressionImport(f.cfg)
	if err != nil {
		return failed("suppressions", "suppressions.import", "see docs/operations.md", err)
	}
	if q == nil {
		return found("suppressions")
	}
	client, err := NewKSQLClient(f.cfg)
	if err != nil {
		return found("suppressions") // the check of ksqldb says it
	}
	f.cleanups = append(f.cleanups, func(context.Context) { client.Close() })
	return preflight.SuppressionImport(client, q)
}

func (f *flight) auth() preflight.Check {
	if f.cfg.Auth.JWKSURL == "" {
		return found("auth") // a secret has been read and measured
	}
	keys, err := newJWKS(f.cfg, zerolog.Nop())
	if err != nil {
		return failed("auth", "auth.jwks_url", "correct the address", err)
	}
	return preflight.JWKS(keys, f.cfg.Auth.Audience)
}

// tokens looks at the operators' tokens.
func (f *flight) tokens() preflight.Check {
	const name, path = "admin tokens", "admin.tokens_file"
	file := f.cfg.Admin.TokensFile
	const mend = "make a token: bugle admin-token"
	if file == "" {
		return found(name, preflight.Finding{Severity: preflight.Warning, Path: path, What: "is not set, so that nobody can use the admin API", Mend: mend})
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return failed(name, path, mend, err)
	}
	tokens, err := api.ParseAdminTokens(text)
	if err != nil {
		return failed(name, path, "correct the lines of "+file, err)
	}
	now, good := f.now(), 0
	for _, t := range tokens {
		if t.Expires.IsZero() || t.Expires.After(now) {
			good++
		}
	}
	if good == 0 {
		return found(name, preflight.Finding{
			Severity: preflight.Warning, Path: path, Mend: mend,
			What: fmt.Sprintf("%s has no token that is good now, so that nobody can use the admin API", file),
		})
	}
	return found(name)
}

func (f *flight) fcm(ctx context.Context) preflight.Check {
	path := "fcm.credentials"
	if f.cfg.FCM.CredentialsFile != "" {
		path = "fcm.credentials_file"
	}
	sender, err := fcm.New(ctx, fcmConfig(f.cfg, prometheus.NewRegistry(), zerolog.Nop()))
	if err != nil {
		return failed("fcm", path, "download a new key of the service account in the Firebase console", err)
	}
	f.cleanups = append(f.cleanups, func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		_ = sender.Close(ctx) // a token that nobody waits for any more
	})
	return preflight.FCM(sender, f.cfg.FCM.ProjectID, []byte(f.cfg.FCM.Credentials.Reveal()), path)
}

func (f *flight) ably() preflight.Check {
	if !f.cfg.Ably.Enabled() {
		return found("ably") // nothing is sent through it
	}
	return preflight.Ably(preflight.AblyConfig{
		Key: f.cfg.Ably.Key.Reveal(), KeyPath: f.ablyKeyPath(), URL: f.ablyURL(), Transport: f.transport(nil), Uses: relayUses(f.cfg),
	})
}

func (f *flight) ablyURL() string {
	if f.cfg.Ably.URL != "" {
		return strings.TrimRight(f.cfg.Ably.URL, "/")
	}
	return ablypush.DefaultURL
}

func (f *flight) clock() preflight.Check {
	google := googleURL
	if f.cfg.FCM.URL != "" {
		google = f.cfg.FCM.URL
	}
	plain := f.transport(nil)
	backends := []preflight.Dated{
		{Path: "ksqldb.url", URL: f.cfg.KSQLDB.URL, Transport: f.transport(f.cfg.KSQLDB.CA)},
		{Path: "fcm.url", URL: google, Transport: plain},
	}
	if f.cfg.Auth.JWKSURL != "" {
		backends = append(backends, preflight.Dated{Path: "auth.jwks_url", URL: f.cfg.Auth.JWKSURL, Transport: plain})
	}
	if f.cfg.Ably.Enabled() {
		backends = append(backends, preflight.Dated{Path: "ably.url", URL: f.ablyURL() + "/time", Transport: plain})
	}
	return preflight.Clock(backends, f.now)
}

// transport makes the few requests of a check; ca replaces the system's authorities.
func (f *flight) transport(ca []byte) http.RoundTripper {
	t := &http.Transport{Proxy: http.ProxyFromEnvironment, TLSHandshakeTimeout: 10 * time.Second, DisableKeepAlives: true}
	if len(ca) > 0 {
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(ca)
		t.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	return t
}
