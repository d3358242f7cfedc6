package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
)

// AdminReplica is one running process.
type AdminReplica struct {
	Owner      string    `json:"owner" example:"bugle-0-7GQ2MZ4K" doc:"Its name, as in runs, leases and logs."`
	Version    string    `json:"version" doc:"Of its binary."`
	Generation string    `json:"generation" doc:"Of the rules that it goes by."`
	InForce    bool      `json:"in_force" doc:"Its rules are those in force: of the living, the replica that took its rules last says so. The others begin no runs."`
	Alive      bool      `json:"alive" doc:"It was heard of within the last 20 seconds."`
	Since      time.Time `json:"since" doc:"When it took its rules, by the database's clock."`
	SeenAt     time.Time `json:"seen_at" doc:"When it was last heard of, by the database's clock."`
}

// AdminReplicaList is every replica that was heard of within the last hour.
type AdminReplicaList struct {
	Replicas []AdminReplica `json:"replicas" nullable:"false"`
}

type replicasOutput struct{ Body AdminReplicaList }

func (a *adminServer) registerReplicas(api huma.API) {
	handle(a.server, api, huma.Operation{
		OperationID: "list-replicas", Method: http.MethodGet, Path: "/admin/v1/replicas", Tags: []string{"replicas"},
		Summary:     "List the running replicas, and whose rules are in force",
		Description: "Those that were heard of within the last hour, the newest rules first. One that ended in good order is not listed.",
	}, a.listReplicas)
}

func (a *adminServer) listReplicas(ctx context.Context, _ *struct{}) (*replicasOutput, error) {
	found, err := a.Replicas.Replicas(ctx)
	if err != nil {
		return nil, err
	}
	out := &replicasOutput{Body: AdminReplicaList{Replicas: make([]AdminReplica, 0, len(found))}}
	for _, r := range found {
		out.Body.Replicas = append(out.Body.Replicas, AdminReplica{
			Owner: r.Owner, Version: r.Version, Generation: r.Generation, InForce: r.InForce, Alive: r.Alive, Since: r.Since, SeenAt: r.SeenAt,
		})
	}
	return out, nil
}
