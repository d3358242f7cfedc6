package console

import (
	"context"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/bugle-push/bugle/api"
	"github.com/bugle-push/bugle/internal/fault"
	"github.com/bugle-push/bugle/notifier"
)

const (
	// formLimit bounds the body of a form, in bytes.
	formLimit = 64 << 10
	// proofField is the form field with the session's proof.
	proofField = "proof"
	// policy lets a page load its own assets and nothing else, and nothing inline:
	// markup that got past the escaping could still run nothing.
	policy = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; " +
		"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

// visit is one request of an operator.
type visit struct {
	w http.ResponseWriter
	r *http.Request
	// by is who asks, for the audit.
	by     notifier.Actor
	secret string
	proof  string
	// refusal is the form that this answer refuses; nil for none.
	refusal *refusal
	// parts are those of an upload behind its proof; nil for other forms.
	parts *multipart.Reader
}

func (v *visit) ctx() context.Context { return v.r.Context() }

// headers stand on every answer of the console.
func (c *Console) headers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Frame-Options", "DENY")
		// Not no-referrer: with that a browser hides the origin of our own forms too.
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
		next.ServeHTTP(w, r)
	})
}

// guard lets a request pass whose session lasts, and gives its work a deadline.
func (c *Console) guard(timeout time.Duration, h handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v, err := c.admit(w, r)
		if err != nil {
			c.refuse(w, r, err)
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), timeout)
		defer cancel()
		v.r = r.WithContext(ctx)
		if err := h(v); err != nil {
			c.problem(v, err) //nolint:contextcheck // a visit carries its request, and the request its context
		}
	}
}

// isLive tells whether a page asks, and not its operator.
func isLive(r *http.Request) bool { return r.URL.Path == livePath || r.URL.Path == streamPath }

func (c *Console) admit(w http.ResponseWriter, r *http.Request) (*visit, error) {
	cookie, err := r.Cookie(cookieName(r))
	if err != nil {
		return nil, fault.New(fault.Unauthorized, "sign in first")
	}
	now := time.Now()
	hash, proof, ok := c.sessions.find(cookie.Value, now, !isLive(r))
	if !ok {
		return nil, fault.New(fault.Unauthorized, "the session has ended: sign in again")
	}
	token, err := c.Tokens.Still(hash, now)
	if err != nil {
		c.sessions.end(cookie.Value)
		return nil, err
	}
	return &visit{w: w, r: r, by: notifier.Actor{Name: token.Name, RequestID: api.RequestID(r.Context())}, secret: cookie.Value, proof: proof}, nil
}

// refuse sends whom it does not know to the sign-in, and from there back. A form
// is not sent again: what it would do is for its operator to say once more.
func (c *Console) refuse(w http.ResponseWriter, r *http.Request, err error) {
	if (r.Method == http.MethodGet || r.Method == http.MethodHead) && !isLive(r) {
		to := "/sign-in"
		next := r.URL.RequestURI()
		if r.URL.Path == "/audit/export" { // a file leaves the browser on the page where it is
			next = strings.Replace(next, "/export", "", 1)
		}
		if next != "/" {
			to += "?next=" + url.QueryEscape(next)
		}
		http.Redirect(w, r, to, http.StatusSeeOther)
		return
	}
	c.signInAnswer(w, r, http.StatusUnauthorized, err)
}

// proven lets a form pass that one of our own pages of this session has sent:
// its browser says that it comes from here, and it holds the session's proof.
func (c *Console) proven(h handler) handler {
	return func(v *visit) error {
		if err := c.readForm(v.w, v.r); err != nil {
			return err
		}
		if !sameProof(v.r.PostForm.Get(proofField), v.proof) {
			return fault.New(fault.Forbidden, "the form is not one of this session: load its page again")
		}
		return h(v)
	}
}

// provenUpload is proven for a form with a file. Its first field is the proof,
// and nothing behind that is read before it has been found good.
func (c *Console) provenUpload(h handler) handler {
	return func(v *visit) error {
		if err := c.origins.Check(v.r); err != nil {
			return fault.Wrap(fault.Forbidden, err, "the form comes from another site")
		}
		end, _ := v.ctx().Deadline() // guard has set one
		v.r.Body = http.MaxBytesReader(v.w, api.PatientBody(v.w, v.r.Body, end), uploadLimit)
		var err error
		if v.parts, err = v.r.MultipartReader(); err != nil {
			return fault.Wrap(fault.Invalid, err, "a form with a file is wanted")
		}
		part, err := nextPart(v, proofField)
		if err != nil {
			return err
		}
		proof, err := io.ReadAll(io.LimitReader(part, formLimit))
		if err != nil {
			return fault.Wrap(fault.Invalid, err, "the form cannot be read")
		}
		if !sameProof(string(proof), v.proof) {
			return fault.New(fault.Forbidden, "the form is not one of this session: load its page again")
		}
		return h(v)
	}
}

// readForm reads a small form that does not come from another site.
func (c *Console) readForm(w http.ResponseWriter, r *http.Request) error {
	if err := c.origins.Check(r); err != nil {
		return fault.Wrap(fault.Forbidden, err, "the form comes from another site")
	}
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || media != "application/x-www-form-urlencoded" {
		return fault.New(fault.Invalid, "a form is wanted")
	}
	r.Body = http.MaxBytesReader(w, r.Body, formLimit)
	if err := r.ParseForm(); err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return fault.New(fault.Invalid, "the form is too large")
		}
		return fault.Wrap(fault.Invalid, err, "the form cannot be read")
	}
	return nil
}

// local tells whether a page comes over plain HTTP from this very machine, the
// one case in which a cookie need not be Secure. Behind a proxy it is not.
func local(r *http.Request) bool {
	if r.TLS != nil || r.Header.Get("X-Forwarded-For") != "" || r.Header.Get("X-Forwarded-Proto") != "" || r.Header.Get("Forwarded") != "" {
		return false
	}
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && addr.IsLoopback()
}

// cookieName has the prefix by which a browser takes the cookie only over HTTPS,
// from this host and for all of it.
func cookieName(r *http.Request) string {
	if local(r) {
		return "bugle_console"
	}
	return "__Host-bugle_console"
}

func setCookie(w http.ResponseWriter, r *http.Request, secret string) {
	cookie := &http.Cookie{ //nolint:gosec // Secure is left out at a loopback address alone, where there is no HTTPS
		Name: cookieName(r), Value: secret, Path: "/", HttpOnly: true, Secure: !local(r), SameSite: http.SameSiteStrictMode,
	}
	if secret == "" {
		cookie.MaxAge = -1
	}
	http.SetCookie(w, cookie)
}
