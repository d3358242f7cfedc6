package api

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"golang.org/x/text/language"

	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/internal/fault"
	"github.com/bugle-push/bugle/notifier"
)

// Inbox is what a user was told, rendered. Its errors carry a fault.Kind.
type Inbox interface {
	// List returns a page of the user's inbox, newest first.
	List(ctx context.Context, user devices.UserID, q notifier.InboxQuery) (notifier.InboxPage, error)
	// MarkRead notes that the user has read an item; doing it again changes nothing.
	MarkRead(ctx context.Context, user devices.UserID, id notifier.NotificationID) error
	// MarkReadUpTo notes that the user has read every item up to an id, included.
	MarkReadUpTo(ctx context.Context, user devices.UserID, id notifier.NotificationID) error
}

// Notification is one item of a user's inbox.
type Notification struct {
	ID         string            `json:"id" doc:"The push has it as data.nid." example:"4711"`
	Seq        int64             `json:"seq" doc:"Grows; the push has it as data.seq. Of one thread the largest is the newest." example:"4711"`
	Rule       string            `json:"rule" doc:"The rule that made it." example:"bet-settled"`
	Category   string            `json:"category" doc:"What a user mutes by." example:"win"`
	Class      string            `json:"class" enum:"transactional,service,marketing"`
	Title      string            `json:"title,omitempty" doc:"Absent when its rule has been removed or changed since." example:"You won £12.50"`
	Body       string            `json:"body,omitempty" example:"Red Rum came first in The Gold Cup."`
	Link       string            `json:"link,omitempty" doc:"The page of the app to open." example:"app://bet/b-17"`
	Data       map[string]string `json:"data,omitempty" doc:"What the rule adds for the app."`
	Thread     string            `json:"thread" doc:"What it replaces on screen: the tag and collapse id of the push." example:"9f86d081884c7d659a2feaa0"`
	Superseded bool              `json:"superseded" doc:"Its thread has something newer."`
	CreatedAt  time.Time         `json:"created_at"`
	ExpiresAt  time.Time         `json:"expires_at" doc:"When it is worth nothing any more; it stays listed."`
	ReadAt     *time.Time        `json:"read_at,omitempty" doc:"When the user first read it; absent while unread."`
}

// NotificationPage is a part of a user's inbox, newest first.
type NotificationPage struct {
	Notifications []Notification `json:"notifications" nullable:"false"`
	Next          string         `json:"next,omitempty" doc:"The after of the next page; absent on the last."`
}

// ReadRequest says how far the user has read.
type ReadRequest struct {
	UpTo string `json:"up_to" maxLength:"19" pattern:"^[1-9][0-9]*$" patternDescription:"an id" doc:"The id of the newest item that the user has seen; it and all older ones are read." example:"4711"`
}

type notificationsInput struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"100" default:"50" doc:"The most items that the page may have."`
	After  string `query:"after" maxLength:"19" pattern:"^[1-9][0-9]*$" patternDescription:"the next of a page" doc:"The next of the page before; absent for the newest."`
	Unread bool   `query:"unread" doc:"Only what the user has not read."`
	Locale string `query:"locale" maxLength:"35" doc:"BCP 47; absent means that of the newest active device."`
}

type inboxItemInput struct {
	ID string `path:"id" maxLength:"19" doc:"One of the user's notifications." example:"4711"`
}

type readInput struct{ Body ReadRequest }

type notificationsOutput struct{ Body NotificationPage }

func (s *server) registerNotifications(api huma.API) {
	tags := []string{"notifications"}
	handle(s, api, huma.Operation{
		OperationID: "list-notifications", Method: http.MethodGet, Path: "/v1/notifications", Tags: tags,
		Summary: "List what the user was told",
		Description: "Push is not reliable: sync from here when the app starts. Newest first. " +
			"What concerns the user alone is listed even when it was muted or reached no device, what went to many only when this user got it, or may have.",
	}, s.listNotifications, notificationExamples()...)
	handle(s, api, huma.Operation{
		OperationID: "read-notification", Method: http.MethodPost, Path: "/v1/notifications/{id}/read", Tags: tags,
		Summary:       "Mark one as read",
		Description:   "Doing it again changes nothing: the first time stays.",
		DefaultStatus: http.StatusNoContent,
	}, s.readNotification, readOneExamples()...)
	handle(s, api, huma.Operation{
		OperationID: "read-notifications", Method: http.MethodPost, Path: "/v1/notifications/read", Tags: tags,
		Summary:       "Mark all as read up to one",
		Description:   "What comes later is unread. Doing it again changes nothing.",
		DefaultStatus: http.StatusNoContent,
	}, s.readNotifications, readAllExamples()...)
}

func (s *server) listNotifications(ctx context.Context, in *notificationsInput) (*notificationsOutput, error) {
	q := notifier.InboxQuery{Limit: in.Limit, Unread: in.Unread, Locale: in.Locale}
	if in.After != "" {
		id, ok := notificationID(in.After)
		if !ok {
			return nil, invalidParam("query.after", "wants the next of a page")
		}
		q.Before = id
	}
	if in.Locale != "" {
		if _, err := language.Parse(in.Locale); err != nil {
			return nil, invalidParam("query.locale", "wants a BCP 47 language tag such as en-GB")
		}
	}
	page, err := s.inbox.List(ctx, userOf(ctx), q)
	if err != nil {
		return nil, err
	}
	out := &notificationsOutput{Body: NotificationPage{Notifications: make([]Notification, len(page.Items))}}
	for i, item := range page.Items {
		out.Body.Notifications[i] = notificationOf(item)
	}
	if page.Next != 0 {
		out.Body.Next = strconv.FormatInt(int64(page.Next), 10)
	}
	return out, nil
}

func (s *server) readNotification(ctx context.Context, in *inboxItemInput) (*struct{}, error) {
	id, ok := notificationID(in.ID)
	if !ok {
		return nil, notifier.ErrNoSuchItem
	}
	return nil, s.inbox.MarkRead(ctx, userOf(ctx), id)
}

func (s *server) readNotifications(ctx context.Context, in *readInput) (*struct{}, error) {
	id, ok := notificationID(in.Body.UpTo)
	if !ok {
		return nil, invalidParam("body.up_to", "wants the id of a notification")
	}
	return nil, s.inbox.MarkReadUpTo(ctx, userOf(ctx), id)
}

// notificationID reads an id in the one spelling that answers have.
func notificationID(s string) (notifier.NotificationID, bool) {
	id, err := strconv.ParseInt(s, 10, 64)
	return notifier.NotificationID(id), err == nil && id > 0 && s[0] != '+' && s[0] != '0'
}

func invalidParam(path, message string) error {
	return fault.InvalidFields("the request is not valid", fault.Field{Path: path, Message: message})
}

func notificationOf(i notifier.InboxItem) Notification {
	n := Notification{
		ID: strconv.FormatInt(int64(i.ID), 10), Seq: int64(i.ID), Rule: i.Rule, Category: i.Category, Class: string(i.Class),
		Title: i.Title, Body: i.Body, Link: i.Link, Data: i.Data, Thread: i.Thread,
		Superseded: i.Superseded, CreatedAt: i.CreatedAt, ExpiresAt: i.ExpiresAt,
	}
	if !i.ReadAt.IsZero() {
		n.ReadAt = &i.ReadAt
	}
	return n
}
