package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
)

// AdminSending says whether anything is sent.
type AdminSending struct {
	Stopped   bool                  `json:"stopped" doc:"Whether all sending is stopped."`
	StoppedBy *AdminPause           `json:"stopped_by,omitempty" doc:"The operator who stopped it."`
	Rules     map[string]AdminPause `json:"rules" nullable:"false" doc:"The rules that are stopped by themselves, and by whom."`
}

type (
	sendingInput  struct{ Body AdminReason }
	sendingOutput struct{ Body AdminSending }
)

func (a *adminServer) registerSending(api huma.API) {
	tags := []string{"sending"}
	handle(a.server, api, huma.Operation{
		OperationID: "get-sending", Method: http.MethodGet, Path: "/admin/v1/sending", Tags: tags,
		Summary: "Show whether anything is stopped",
	}, a.getSending)
	handle(a.server, api, huma.Operation{
		OperationID: "stop-sending", Method: http.MethodPost, Path: "/admin/v1/sending/stop", Tags: tags,
		Summary: "Stop all sending",
		Description: "Within a second no replica sends anything, restarts included, until it is started: what is queued waits, or expires. " +
			"Rules go on reading. What is with the provider already is not called back.",
	}, a.stopSending)
	handle(a.server, api, huma.Operation{
		OperationID: "start-sending", Method: http.MethodPost, Path: "/admin/v1/sending/start", Tags: tags,
		Summary: "Start all sending again", Description: "What is queued and has not expired goes out. Rules that are stopped by themselves stay so.",
	}, a.startSending)
}

func (a *adminServer) getSending(ctx context.Context, _ *noInput) (*sendingOutput, error) {
	stops, err := a.Sending.Stops(ctx)
	if err != nil {
		return nil, err
	}
	out := &sendingOutput{Body: AdminSending{Rules: map[string]AdminPause{}}}
	for _, s := range stops {
		by := AdminPause{Actor: s.Actor, Reason: s.Reason, At: s.At}
		if s.Rule == "" {
			out.Body.Stopped, out.Body.StoppedBy = true, &by
			continue
		}
		out.Body.Rules[s.Rule] = by
	}
	return out, nil
}

func (a *adminServer) stopSending(ctx context.Context, in *sendingInput) (*sendingOutput, error) {
	if err := a.Sending.StopSending(ctx, actorOf(ctx), in.Body.Reason); err != nil {
		return nil, err
	}
	return a.getSending(ctx, nil)
}

func (a *adminServer) startSending(ctx context.Context, in *sendingInput) (*sendingOutput, error) {
	if err := a.Sending.StartSending(ctx, actorOf(ctx), in.Body.Reason); err != nil {
		return nil, err
	}
	return a.getSending(ctx, nil)
}
