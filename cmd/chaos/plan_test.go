package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestPlanFollowsFromTheSeed(t *testing.T) {
	t.Parallel()
	o := options{rounds: 20, replicas: 3, db: dbPostgres, seed: 7}
	plan := makePlan(o)
	for range 3 {
		require.Equal(t, plan, makePlan(o))
	}
	other := o
	other.seed = 8
	require.NotEqual(t, plan, makePlan(other))
}

func TestPlanKeepsItsBounds(t *testing.T) {
	t.Parallel()
	for seed := range uint64(50) {
		for _, o := range []options{
			{rounds: 3, replicas: 3, db: dbPostgres, seed: seed},
			{rounds: 20, replicas: 3, db: dbPostgres, seed: seed},
			{rounds: 3, replicas: 1, db: dbSQLite, seed: seed},
			{rounds: 20, replicas: 1, db: dbSQLite, seed: seed},
		} {
			plan := makePlan(o)
			require.Len(t, plan, o.rounds)
			met := map[faultKind]int{}
			for _, r := range plan {
				require.True(t, r.length >= 12*time.Second && r.length <= 25*time.Second, r.length)
				kills := 0
				for n, f := range r.faults {
					met[f.kind]++
					if f.kind == faultKill {
						kills++
					}
					require.Less(t, f.slot, o.replicas)
					if n > 0 {
						require.GreaterOrEqual(t, f.at, r.faults[n-1].at)
					}
					// Process faults of one replica follow each other.
					for _, g := range r.faults[:n] {
						if f.onProcess() && g.onProcess() && f.slot == g.slot {
							require.GreaterOrEqual(t, f.at, g.at+g.lasts)
						}
					}
				}
				require.Positive(t, kills)
			}
			most := (o.rounds + roundsPerLongStop - 1) / roundsPerLongStop
			if o.rounds <= shortRun {
				most = 0
			}
			require.LessOrEqual(t, met[faultLongStop], most)
			if o.rounds == 20 {
				for _, k := range []faultKind{faultStop, faultTerm, faultFCM, faultAbly, faultKSQLDB, faultKafka} {
					require.Positive(t, met[k], k)
				}
			}
			if o.db == dbSQLite {
				require.Zero(t, met[faultCut]+met[faultCrash], "a file has no server that could fail")
			} else if o.rounds == 20 {
				require.Positive(t, met[faultCut])
				require.Positive(t, met[faultCrash])
			}
		}
	}
}

func TestEveryProfileIsOne(t *testing.T) {
	t.Parallel()
	s, err := startStandIns(t.Context(), 1, newOracle(), newFeed(newOracle(), 1, 1))
	require.NoError(t, err)
	defer s.close(t.Context())
	for kind, names := range map[faultKind][]string{faultFCM: fcmProfiles, faultAbly: ablyProfiles, faultKSQLDB: ksqldbProfiles, faultKafka: kafkaProfiles} {
		for _, name := range append(names, "") {
			require.NoError(t, s.fail(kind, name), "%s %s", kind, name)
		}
		require.Error(t, s.fail(kind, "no such"))
	}
	require.Error(t, s.fail(faultKill, ""))
}
