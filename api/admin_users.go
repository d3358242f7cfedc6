package api

import (
	"context"
	"encoding/json"
	"io"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/notifier"
)

// UserOperator hands out and erases what is stored about users. Both are audited.
type UserOperator interface {
	Export(ctx context.Context, by notifier.Actor, user devices.UserID, emit func(kind string, record any) error) error
	Erase(ctx context.Context, by notifier.Actor, user devices.UserID, reason string) (notifier.Erasure, error)
}

// AdminErasure says what was erased of a user.
type AdminErasure struct {
	Erased  map[string]int64 `json:"erased" nullable:"false" doc:"Rows by kind."`
	Waiting int64            `json:"waiting" doc:"Deliveries that are being sent (devices, preferences, presence and bets are erased after them), or bets that Kafka has not got yet, which are never dropped. Ask again when it is not 0."`
	Remains []string         `json:"remains" nullable:"false" doc:"What stays, and why."`
}

type (
	userInput struct {
		ID string `path:"id" maxLength:"128" doc:"The user's id." example:"ann"`
	}
	eraseInput struct {
		ID     string `path:"id" maxLength:"128" doc:"The user's id." example:"ann"`
		Reason string `query:"reason" maxLength:"500" doc:"For the audit, where it stays: the number of a request, not a text about the user."`
	}
	erasureOutput struct{ Body AdminErasure }
)

func (a *adminServer) registerUsers(api huma.API) {
	tags := []string{"users"}
	handle(a.server, api, lasting(huma.Operation{
		OperationID: "export-user", Method: http.MethodGet, Path: "/admin/v1/users/{id}/export", Tags: tags,
		Summary:     "Export all that is stored about a user",
		Description: "One record on each line (application/x-ndjson), with its kind. Targets are shown as hashes. An export that is cut off ends without its closing chunk.",
	}, exportTimeout), a.exportUser)
	handle(a.server, api, lasting(huma.Operation{
		OperationID: "erase-user", Method: http.MethodDelete, Path: "/admin/v1/users/{id}", Tags: tags, DefaultStatus: http.StatusOK,
		Summary: "Erase a user",
		Description: "Devices, preferences, deliveries, attempts, read marks, bad rows and presence are removed; notifications lose their row and user, and bets that Kafka has their channel, which names the user. " +
			"Pushes that are queued are cancelled, bets are not. Doing it again erases what has come since.",
	}, exportTimeout), a.eraseUser)
}

func (a *adminServer) exportUser(ctx context.Context, in *userInput) (*huma.StreamResponse, error) {
	user, err := userID(in.ID)
	if err != nil {
		return nil, err
	}
	return a.exported(ctx, "application/x-ndjson", func(w io.Writer) error {
		lines := json.NewEncoder(w)
		return a.Users.Export(ctx, actorOf(ctx), user, func(kind string, record any) error {
			return lines.Encode(map[string]any{"kind": kind, "record": record})
		})
	}), nil
}

func (a *adminServer) eraseUser(ctx context.Context, in *eraseInput) (*erasureOutput, error) {
	user, err := userID(in.ID)
	if err != nil {
		return nil, err
	}
	e, err := a.Users.Erase(ctx, actorOf(ctx), user, in.Reason)
	if err != nil {
		return nil, err
	}
	return &erasureOutput{Body: AdminErasure{Erased: e.Erased, Waiting: e.Waiting, Remains: erasureRemains()}}, nil
}

// erasureRemains is what an erasure leaves, and why.
func erasureRemains() []string {
	return []string{
		"suppressions: they say that the user must not be sent to",
		"the audit: it is never changed",
		"keys, versions and times of notifications: they keep a row from being announced twice",
		"bets that wait for Kafka: until it has them (they are among waiting), and then until this is asked again, or a day after they came",
		"of other bets a digest in the place of the channel, so that none is taken twice: a day at the most",
		"the records of bets and dead letters in Kafka's topics",
	}
}
