package console

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/bugle-push/bugle/api"
	"github.com/bugle-push/bugle/internal/fault"
)

// signInView is what the sign-in page shows.
type signInView struct {
	// Next is where to go afterwards, a path of ours; empty for the overview.
	Next string
	// Problem says why the operator is not in; empty at first.
	Problem string
	// Undone says that a form met the end of its session: nothing of it was done.
	Undone bool
	// Plain says that the page came unprotected: the browser would drop the cookie.
	Plain bool
	// GoOn is where a link leads for who is signed in; empty where the browser would have said so. It
	// keeps the cookie to itself when a link of another site is followed, that of an alert in a chat.
	GoOn string
}

func (c *Console) signInPage(w http.ResponseWriter, r *http.Request) {
	if v, err := c.admit(w, r); err == nil {
		http.Redirect(w, v.r, nextPath(r.URL.Query().Get("next")), http.StatusSeeOther) //nolint:gosec // nextPath lets paths of ours pass alone
		return
	}
	c.signInAnswer(w, r, http.StatusOK, nil)
}

// signInAnswer shows the sign-in. The status of a fault is kept, so that
// programs see it too.
func (c *Console) signInAnswer(w http.ResponseWriter, r *http.Request, status int, err error) {
	view := signInView{Next: r.URL.Query().Get("next"), Plain: r.TLS == nil && !local(r) && r.Header.Get("X-Forwarded-Proto") != "https"}
	if r.Method == http.MethodGet && r.Header.Get("Sec-Fetch-Site") == "cross-site" {
		view.GoOn = nextPath(view.Next)
	}
	if r.Method == http.MethodPost && r.URL.Path != "/sign-in" {
		view.Undone, view.Next = true, pageOf(r)
	}
	if r.PostForm != nil {
		view.Next = r.PostForm.Get("next")
	}
	if err != nil {
		p := api.ProblemOf(r.Context(), c.log, err)
		view.Problem, status = p.Detail, p.Status
	}
	c.render(w, r, status, "sign-in", frame{Title: "Sign in", Body: view})
}

func (c *Console) signIn(w http.ResponseWriter, r *http.Request) {
	if err := c.readForm(w, r); err != nil {
		c.signInAnswer(w, r, 0, err)
		return
	}
	now := time.Now()
	token, err := c.Tokens.Admit(strings.TrimSpace(r.PostForm.Get("token")), now)
	if err != nil {
		if fault.KindOf(err) == fault.Unauthorized {
			c.log.Warn().Err(err).Str("request_id", api.RequestID(r.Context())).Msg("admin token refused")
		}
		c.signInAnswer(w, r, 0, err)
		return
	}
	// A session that the browser still has ends: one sign-in, one session.
	if old, err := r.Cookie(cookieName(r)); err == nil {
		c.sessions.end(old.Value)
	}
	setCookie(w, r, c.sessions.begin(token, now))
	c.log.Info().Str("actor", token.Name).Str("request_id", api.RequestID(r.Context())).Msg("operator signed in")
	http.Redirect(w, r, nextPath(r.PostForm.Get("next")), http.StatusSeeOther) //nolint:gosec // nextPath lets paths of ours pass alone
}

func (c *Console) signOut(v *visit) error {
	c.sessions.end(v.secret)
	setCookie(v.w, v.r, "")
	v.w.Header().Set("Clear-Site-Data", `"cache"`)
	c.log.Info().Str("actor", v.by.Name).Str("request_id", v.by.RequestID).Msg("operator signed out")
	http.Redirect(v.w, v.r, "/sign-in", http.StatusSeeOther)
	return nil
}

// nextPath is a path of this console, or the overview: a link to the sign-in
// must not lead to another host.
func nextPath(next string) string {
	u, err := url.Parse(next)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || !strings.HasPrefix(next, "/") ||
		strings.HasPrefix(next, "//") || strings.ContainsAny(next, "\\\r\n\t") {
		return "/"
	}
	return u.RequestURI()
}

// pageOf is the page of ours that a form was sent from; empty when the browser does
// not say, or when it was an answer to another form, which cannot be asked for.
func pageOf(r *http.Request) string {
	from, err := url.Parse(r.Header.Get("Referer"))
	if err != nil || from.Host != r.Host {
		return ""
	}
	routes := chi.RouteContext(r.Context())
	if routes == nil || !routes.Routes.Match(chi.NewRouteContext(), http.MethodGet, from.Path) {
		return ""
	}
	return nextPath(from.RequestURI())
}
