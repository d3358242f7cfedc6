package api

import (
	"context"
	"net/http"

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

// Preferences are what a user wants to hear about. Both lists are required: a
// PUT replaces them, and a forgotten one must not unmute anything.
type Preferences struct {
	Muted   []string `json:"muted" nullable:"false" doc:"Categories that the user does not want." example:"[\"loss\"]"`
	OptedIn []string `json:"opted_in" nullable:"false" doc:"Categories that are off unless chosen, and are chosen."`
}

type preferencesInput struct{ Body Preferences }

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
		Description: "Replaces both lists. It counts for everything that has not been sent yet.",
	}, s.putPreferences, putPreferencesExamples()...)
}

func (s *server) getPreferences(ctx context.Context, _ *struct{}) (*preferencesOutput, error) {
	return preferencesOf(s.preferences.Preferences(ctx, userOf(ctx)))
}

func (s *server) putPreferences(ctx context.Context, in *preferencesInput) (*preferencesOutput, error) {
	out, err := preferencesOf(s.preferences.SetPreferences(ctx, userOf(ctx),
		devices.Preferences{Muted: in.Body.Muted, OptedIn: in.Body.OptedIn}))
	return out, within("body", err)
}

func preferencesOf(p devices.Preferences, err error) (*preferencesOutput, error) {
	if err != nil {
		return nil, err
	}
	return &preferencesOutput{Body: Preferences{Muted: p.Muted, OptedIn: p.OptedIn}}, nil
}
