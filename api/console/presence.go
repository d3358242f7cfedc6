package console

import (
	"net/http"
	"net/url"

	"github.com/bugle-push/bugle/internal/fault"
	"github.com/bugle-push/bugle/relay/bets"
)

// errNoPresence says that nobody keeps who is in the app.
var errNoPresence error = fault.New(fault.NotFound, "presence is not kept: it wants bets.enabled")

// presenceView is a page of who is in the app.
type presenceView struct {
	Client, Channel, Page string
	Filtered              bool
	Members               []bets.Member
	Next                  string
}

func (c *Console) presence(v *visit) error {
	if c.Presence == nil {
		return errNoPresence
	}
	query := v.r.URL.Query()
	view := presenceView{Client: query.Get("client"), Channel: query.Get("channel"), Page: query.Get("page")}
	kept := url.Values{}
	for _, name := range []string{"client", "channel", "page"} {
		if text := query.Get(name); text != "" {
			kept.Set(name, text)
		}
	}
	view.Filtered = len(kept) > 0
	q := bets.MemberQuery{ClientID: view.Client, Channel: view.Channel, Page: view.Page, Limit: pageSize + 1}
	if query.Has("after_client") {
		q.After = &bets.MemberCursor{ClientID: query.Get("after_client"), Channel: query.Get("after_channel"), ConnectionID: query.Get("after_connection")}
	}
	var err error
	if view.Members, err = c.Presence.Members(v.ctx(), q); err != nil {
		return err
	}
	if len(view.Members) > pageSize {
		view.Members = view.Members[:pageSize]
		last := view.Members[pageSize-1]
		kept.Set("after_client", last.ClientID)
		kept.Set("after_channel", last.Channel)
		kept.Set("after_connection", last.ConnectionID)
		view.Next = "/presence?" + kept.Encode()
	}
	return c.page(v, http.StatusOK, "presence", "Presence", "/presence", view)
}
