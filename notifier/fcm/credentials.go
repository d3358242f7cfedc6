package fcm

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"time"

	"cloud.google.com/go/auth"
	"cloud.google.com/go/auth/credentials"

	"github.com/bugle-push/bugle/notifier"
)

// scope is all that sending needs.
const scope = "https://www.googleapis.com/auth/firebase.messaging"

// defaultLife is the life of a token that does not say how long it lives.
const defaultLife = 5 * time.Minute

// account fetches access tokens for the configured credentials.
type account struct {
	file   string
	json   []byte
	client *http.Client
}

// load reads the credentials.
func (a account) load() (*auth.Credentials, error) {
	opts := &credentials.DetectOptions{
		Scopes: []string{scope},
		Client: a.client,
		// Without it an environment variable could have the library log requests with their assertion.
		Logger: slog.New(slog.DiscardHandler),
	}
	key := a.json
	if a.file != "" {
		b, err := os.ReadFile(a.file)
		if err != nil {
			return nil, fmt.Errorf("read credentials: %w", err)
		}
		key = b
	}
	if len(key) == 0 {
		if a.file != "" {
			return nil, errors.New("read credentials: the file is empty")
		}
		creds, err := credentials.DetectDefault(opts)
		if err != nil {
			return nil, errors.New("find credentials: no credentials file or JSON is set, and there are no usable application default credentials " +
				"(the file that GOOGLE_APPLICATION_CREDENTIALS names, gcloud's, or the metadata server)")
		}
		return creds, nil
	}
	if err := checkKey(key); err != nil {
		return nil, fmt.Errorf("read credentials: %w", err)
	}
	creds, err := credentials.NewCredentialsFromJSON(credentials.ServiceAccount, key, opts)
	if err != nil {
		return nil, errors.New("read credentials: the service account key cannot be used")
	}
	return creds, nil
}

// checkKey says what a service account's key lacks, without showing any of it.
func checkKey(b []byte) error {
	var key struct {
		Type        string `json:"type"`
		ClientEmail string `json:"client_email"`
		PrivateKey  string `json:"private_key"`
	}
	// The decoder's error may quote what it read.
	if err := json.Unmarshal(b, &key); err != nil {
		return errors.New("the service account key is not valid JSON")
	}
	if key.Type != string(credentials.ServiceAccount) {
		return errors.New(`the key's "type" is not "service_account"`)
	}
	if key.ClientEmail == "" {
		return errors.New(`the service account key has no "client_email"`)
	}
	if key.PrivateKey == "" {
		return errors.New(`the service account key has no "private_key"`)
	}
	block, _ := pem.Decode([]byte(key.PrivateKey))
	if block == nil {
		return errors.New(`the service account key's "private_key" is not PEM`)
	}
	_, err8 := x509.ParsePKCS8PrivateKey(block.Bytes)
	_, err1 := x509.ParsePKCS1PrivateKey(block.Bytes)
	if err8 != nil && err1 != nil {
		return errors.New(`the service account key's "private_key" is not a private key`)
	}
	return nil
}

// mint fetches a new access token. Its error says whether to try again (code
// token_unavailable) or to stop (credentials_refused).
func (a account) mint(ctx context.Context) (accessToken, error) {
	creds, err := a.load()
	if err != nil {
		return accessToken{}, &Error{Code: CodeCredentialsRefused, Err: err}
	}
	tok, err := creds.Token(ctx)
	if err != nil {
		return accessToken{}, mintError(err)
	}
	now := time.Now()
	t := accessToken{value: tok.Value, minted: now, expires: tok.Expiry}
	if t.expires.IsZero() {
		t.expires = now.Add(defaultLife)
	}
	if t.value == "" || !t.expires.After(now) {
		return accessToken{}, &Error{Code: CodeTokenUnavailable, Detail: "the token server's answer holds no valid token"}
	}
	return t, nil
}

// mintError classifies what kept the token server from giving a token. The
// server's own text stays out: it may quote the assertion.
func mintError(err error) *Error {
	var refused *auth.Error
	if !errors.As(err, &refused) || refused.Response == nil {
		return &Error{Code: CodeTokenUnavailable, Err: err}
	}
	e := &Error{Code: CodeTokenUnavailable, Status: refused.Response.StatusCode, Detail: "token server"}
	switch e.Status {
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden:
		e.Code = CodeCredentialsRefused
	}
	var body struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(refused.Body, &body) == nil {
		e.Reason = word(body.Error) // such as invalid_grant
	}
	return e
}

// tokenOutcome is the outcome of a send that got no access token.
func tokenOutcome(err error) notifier.Outcome {
	var e *Error
	if !errors.As(err, &e) {
		e = &Error{Code: CodeTokenUnavailable, Err: err}
	}
	verdict := notifier.VerdictRetry
	if e.Code == CodeCredentialsRefused {
		verdict = notifier.VerdictBlocked
	}
	out := refusal(verdict, e)
	out.Status = 0 // the token server's is not FCM's
	return out
}
