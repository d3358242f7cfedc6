package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/bugle-push/bugle/relay/bets"
)

// PresenceReader finds who is in the app.
type PresenceReader interface {
	// Members lists members by client, channel and connection.
	Members(ctx context.Context, q bets.MemberQuery) ([]bets.Member, error)
}

// AdminMember is somebody who is in the app, as Ably's presence says.
type AdminMember struct {
	Client     string    `json:"client" doc:"Ably's client id; the user, where the app connects with our token." example:"ann"`
	Channel    string    `json:"channel" example:"inbound:betting:horses:ann"`
	Connection string    `json:"connection" doc:"Ably's connection: one device or page."`
	Page       string    `json:"page" doc:"Where in the app; empty when it does not say." example:"Car Racing Page"`
	Since      time.Time `json:"since"`
	SeenAt     time.Time `json:"seen_at" doc:"When Ably last spoke of them."`
	ExpiresAt  time.Time `json:"expires_at" doc:"When they count as gone without another word."`
}

// AdminMemberList is a page of members.
type AdminMemberList struct {
	Members []AdminMember `json:"members" nullable:"false"`
	Next    *string       `json:"next" doc:"Ask again with after= this for the next page; null at the end."`
}

type (
	presenceInput struct {
		Limit   int    `query:"limit" minimum:"1" maximum:"500" default:"50" doc:"The most entries to answer."`
		Client  string `query:"client" maxLength:"255" doc:"Who."`
		Channel string `query:"channel" maxLength:"255" doc:"On which channel."`
		Page    string `query:"page" maxLength:"200" doc:"Where in the app."`
		After   string `query:"after" maxLength:"2048" doc:"The next of the page before."`
	}
	presenceOutput struct{ Body AdminMemberList }
)

// memberCursor is where a page of members ended.
type memberCursor struct {
	Client     string `json:"u"`
	Channel    string `json:"c"`
	Connection string `json:"n"`
}

func (c memberCursor) encode() string            { return encodeCursor(c) }
func (c *memberCursor) decode(text string) error { return decodeCursor(text, c) }

func (a *adminServer) registerPresence(api huma.API) {
	handle(a.server, api, huma.Operation{
		OperationID: "list-presence", Method: http.MethodGet, Path: "/admin/v1/presence", Tags: []string{"presence"},
		Summary:     "List who is in the app, and where",
		Description: "As Ably's presence webhooks say, by client, channel and connection. One who left without a word stays for two hours.",
	}, a.listPresence)
}

func (a *adminServer) listPresence(ctx context.Context, in *presenceInput) (*presenceOutput, error) {
	q := bets.MemberQuery{ClientID: in.Client, Channel: in.Channel, Page: in.Page, Limit: in.Limit + 1}
	if in.After != "" {
		var c memberCursor
		if err := c.decode(in.After); err != nil {
			return nil, err
		}
		q.After = &bets.MemberCursor{ClientID: c.Client, Channel: c.Channel, ConnectionID: c.Connection}
	}
	found, err := a.Presence.Members(ctx, q)
	if err != nil {
		return nil, err
	}
	found, more := page(found, in.Limit)
	out := &presenceOutput{Body: AdminMemberList{Members: make([]AdminMember, 0, len(found))}}
	for _, m := range found {
		out.Body.Members = append(out.Body.Members, AdminMember{
			Client: m.ClientID, Channel: m.Channel, Connection: m.ConnectionID, Page: m.Page,
			Since: m.Since, SeenAt: m.SeenAt, ExpiresAt: m.ExpiresAt,
		})
	}
	if more {
		last := found[len(found)-1]
		out.Body.Next = new(memberCursor{Client: last.ClientID, Channel: last.Channel, Connection: last.ConnectionID}.encode())
	}
	return out, nil
}
