package api

import (
	"context"
	"encoding/json"
	"net/http"
	"reflect"

	"github.com/danielgtaylor/huma/v2"

	"github.com/bugle-push/bugle/devices"
)

// PreferenceStore keeps what users want to hear about.
type PreferenceStore interface {
	// Preferences returns what the user has set, empty lists when nothing.
	Preferences(ctx context.Context, user devices.UserID) (devices.Preferences, error)
	// SetPreferences replaces what the user has set, and returns it as stored.
	SetPreferences(ctx context.Context, user devices.UserID, p devices.Preferences) (devices.Preferences, error)
}

// Preferences are what a user wants to hear about, and when not.
type Preferences struct {
	Muted   []string    `json:"muted" nullable:"false" doc:"Categories that the user does not want." example:"[\"loss\"]"`
	OptedIn []string    `json:"opted_in" nullable:"false" doc:"Categories that are off unless chosen, and are chosen."`
	Quiet   *QuietHours `json:"quiet,omitempty" doc:"When the user wants to hear nothing; absent for never."`
}

// QuietHours are the hours of a day in which a user wants to hear nothing.
type QuietHours struct {
	From     string `json:"from" pattern:"^([01][0-9]|2[0-3]):[0-5][0-9]$" patternDescription:"a time of day such as 22:00" doc:"The first quiet minute, HH:MM." example:"22:00"`
	To       string `json:"to" pattern:"^([01][0-9]|2[0-3]):[0-5][0-9]$" patternDescription:"a time of day such as 08:00" doc:"The first minute after them, HH:MM. Before from: they go over midnight." example:"08:00"`
	TimeZone string `json:"time_zone,omitempty" maxLength:"64" doc:"IANA zone of the user's day; absent or empty: each device's own, or UTC." example:"Europe/London"`
}

// PreferencesChange replaces a user's preferences. Both lists are required: a
// forgotten one must not unmute anything. Quiet hours came later: an app that
// does not know them must not take them away.
type PreferencesChange struct {
	Muted   []string    `json:"muted" nullable:"false" doc:"Categories that the user does not want." example:"[\"loss\"]"`
	OptedIn []string    `json:"opted_in" nullable:"false" doc:"Categories that are off unless chosen, and are chosen."`
	Quiet   quietChange `json:"quiet,omitzero" doc:"When the user wants to hear nothing. null: never; absent: as it is."`
}

// quietChange tells null, which takes the quiet hours away, from nothing said.
type quietChange struct{ to *devices.Quiet }

// UnmarshalJSON is called for null too.
func (c *quietChange) UnmarshalJSON(text []byte) error {
	var q *QuietHours
	if err := json.Unmarshal(text, &q); err != nil {
		return err
	}
	c.to = &devices.Quiet{}
	if q == nil {
		return nil
	}
	from, err := devices.ParseTimeOfDay(q.From)
	if err != nil {
		return err
	}
	to, err := devices.ParseTimeOfDay(q.To)
	if err != nil {
		return err
	}
	*c.to = devices.Quiet{From: from, To: to, TimeZone: q.TimeZone}
	return nil
}

// Schema is that of QuietHours.
func (quietChange) Schema(r huma.Registry) *huma.Schema {
	return r.Schema(reflect.TypeFor[QuietHours](), true, "QuietHours")
}

type preferencesInput struct{ Body PreferencesChange }

type preferencesOutput struct{ Body Preferences }

func (s *server) registerPreferences(api huma.API) {
	tags := []string{"preferences"}
	handle(s, api, huma.Operation{
		OperationID: "get-preferences", Method: http.MethodGet, Path: "/v1/preferences", Tags: tags,
		Summary: "Get what the user wants to hear about",
	}, s.getPreferences, getPreferencesExamples()...)
	handle(s, api, huma.Operation{
		OperationID: "put-preferences", Method: http.MethodPut, Path: "/v1/preferences", Tags: tags,
		Summary:     "Set what the user wants to hear about",
		Description: "Replaces both lists, and the quiet hours where they are given. It counts for everything that has not been sent yet.",
	}, s.putPreferences, putPreferencesExamples()...)
}

func (s *server) getPreferences(ctx context.Context, _ *struct{}) (*preferencesOutput, error) {
	return preferencesAnswer(s.preferences.Preferences(ctx, userOf(ctx)))
}

func (s *server) putPreferences(ctx context.Context, in *preferencesInput) (*preferencesOutput, error) {
	out, err := preferencesAnswer(s.preferences.SetPreferences(ctx, userOf(ctx),
		devices.Preferences{Muted: in.Body.Muted, OptedIn: in.Body.OptedIn, Quiet: in.Body.Quiet.to}))
	return out, within("body", err)
}

func preferencesAnswer(p devices.Preferences, err error) (*preferencesOutput, error) {
	if err != nil {
		return nil, err
	}
	return &preferencesOutput{Body: preferencesOf(p)}, nil
}

func preferencesOf(p devices.Preferences) Preferences {
	out := Preferences{Muted: p.Muted, OptedIn: p.OptedIn}
	if q := p.Quiet; q != nil {
		out.Quiet = &QuietHours{From: q.From.String(), To: q.To.String(), TimeZone: q.TimeZone}
	}
	return out
}
