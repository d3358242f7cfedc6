package main

import (
	"context"
	"fmt"
	"os"

	"github.com/bugle-push/bugle/internal/app"
	"github.com/bugle-push/bugle/sandbox/fcm"
	"github.com/bugle-push/bugle/sandbox/page"
	"github.com/bugle-push/bugle/sandbox/racing"
)

// guestPhones is the number of the first phone of a guest of the page at FCM:
// the numbers before it are anybody's.
const guestPhones = 1 << 20

// openPage starts the betting page, for a service that will listen at an address.
// What the page serves needs the stand-ins.
func (s *sandbox) openPage(ctx context.Context, addr ports) error {
	var err error
	s.page, err = page.Start(ctx, page.Config{
		Addr:     addr.page,
		Document: page.Document{API: "http://" + addr.api, Ably: s.ably.URL()},
		Host:     &reception{fcm: s.fcm, client: racing.NewClient(racing.ClientConfig{URL: "http://" + addr.api, Secret: s.secret})},
	})
	if err != nil {
		return fmt.Errorf("start betting page: %w", err)
	}
	s.loop.page = s.page
	return nil
}

// reception gives each browser tab a user and a phone of its own. The oracle of
// pushes knows nothing of them, that of bets holds them to the topic alone.
type reception struct {
	fcm    *fcm.Server
	client *racing.Client // for its tokens; it asks nothing
}

// Welcome implements page.Host.
func (r *reception) Welcome(n int) (page.Guest, error) {
	user := fmt.Sprintf("guest-%d", n)
	token, err := r.client.Token(racing.UserID(user), guestLife)
	return page.Guest{User: user, Token: token, Device: page.Device{
		ID: user + "-phone", Platform: fcm.Android,
		Target: page.Target{Kind: "fcm_token", Value: r.fcm.TokenAt(fcm.Android, uint32(guestPhones+n))},
	}}, err
}

// Farewell implements page.Host.
func (r *reception) Farewell(g page.Guest) { r.fcm.Unregister(g.Device.Target.Value) }

// toPage takes what FCM accepted to the phone of a guest of the page. It reports
// whether it was for one.
func (s *sandbox) toPage(a fcm.Accepted) bool {
	return s.page.Push(a.Token, page.Push{Title: a.Title, Body: a.Body, Tag: a.Tag, Data: a.Data, At: a.At})
}

// onPage returns a race as the page has it.
func onPage(c racing.Card) page.Race {
	return page.Race{ID: c.ID, Name: c.Name, Course: c.Course, StartsAt: &c.StartsAt, Status: string(c.Status)}
}

// winners names who came first, nobody in a race that does not count.
func winners(r racing.Result) string {
	if r.Tied != "" {
		return r.Winner + " and " + r.Tied
	}
	return r.Winner
}

// look says what there is to look at in a browser.
func (s *sandbox) look(service *app.App) string {
	return fmt.Sprintf("\nOpen in a browser: the betting page, where you are a user with a phone, and the operator console, where you sign in with the ADMIN_TOKEN:\n\n"+
		"    %s/\n    http://%s/\n    ADMIN_TOKEN=%s\n", s.page.URL(), service.AdminAddr(), s.admin.Reveal())
}

// servePage serves the betting page alone, for a Bugle and an Ably that a file
// names, until ctx ends.
func servePage(ctx context.Context, o options, told *story) error {
	text, err := os.ReadFile(o.pageOnly)
	if err != nil {
		return fmt.Errorf("read the page's document: %w", err)
	}
	d, err := page.ReadDocument(text)
	if err != nil {
		return err
	}
	addr := pageAddr
	if o.ports == "auto" {
		addr = ""
	}
	p, err := page.Start(ctx, page.Config{Addr: addr, Document: d})
	if err != nil {
		return err
	}
	told.print(fmt.Sprintf("The betting page is at %s/, for the Bugle at %s and the Ably at %s. The Bugle has to allow it: cors.allowed_origins: [%s]\n", p.URL(), d.API, d.Ably, p.URL()))
	<-ctx.Done()
	return p.Close()
}
