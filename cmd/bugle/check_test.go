package main

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/bugle-push/bugle/internal/sqldb"
	"github.com/bugle-push/bugle/notifier"
	"github.com/bugle-push/bugle/sandbox/ably"
	"github.com/bugle-push/bugle/sandbox/fcm"
	"github.com/bugle-push/bugle/sandbox/ksqldb"
	"github.com/bugle-push/bugle/sandbox/racing"
)

// seed is everything around one check, good until a case spoils it.
type seed struct {
	ksql    ksqldb.Config
	views   map[string][]ksqldb.Column
	fcm     fcm.Config
	ably    ably.Config
	environ map[string]string
	// late is done when the backends are running.
	late func(t *testing.T, s *seed)

	fcmServer  *fcm.Server
	ablyServer *ably.Server
	ksqlServer *ksqldb.Server
}

func column(name, kind string) ksqldb.Column { return ksqldb.Column{Name: name, Type: kind} }

// goodViews are the views of the built-in rules.
func goodViews() map[string][]ksqldb.Column {
	return map[string][]ksqldb.Column{
		"SETTLED_BETS": {
			{Name: "BET_ID", Type: "STRING", Key: true},
			column("USER_ID", "STRING"), column("EVENT_ID", "STRING"),
			column("EVENT_NAME", "STRING"), column("RUNNER", "STRING"), column("OUTCOME", "STRING"),
			column("PAYOUT", "DECIMAL(18, 2)"), column("CURRENCY", "STRING"), column("SETTLED_AT", "TIMESTAMP"),
		},
		"REJECTED_BETS": racing.NewRejectedBets().Columns(),
		"UPCOMING_RACES": {
			{Name: "EVENT_ID", Type: "STRING", Key: true},
			column("NAME", "STRING"), column("COURSE", "STRING"),
			column("STARTS_AT", "TIMESTAMP"), column("STATUS", "STRING"),
		},
	}
}

// retype returns the view with one column of another type, or without it when kind is empty.
func (s *seed) retype(view, name, kind string) {
	i := slices.IndexFunc(s.views[view], func(c ksqldb.Column) bool { return c.Name == name })
	if kind == "" {
		s.views[view] = slices.Delete(s.views[view], i, i+1)
		return
	}
	s.views[view][i].Type = kind
}

func (s *seed) rule(t *testing.T, old, replacement string) {
	text := strings.Replace(string(notifier.BuiltinRules().YAML), old, replacement, 1)
	require.NotEqual(t, string(notifier.BuiltinRules().YAML), text)
	s.environ["BUGLE_RULES_FILE"] = write(t, "rules.yaml", text)
}

// check starts the world and runs the command.
func (s *seed) check(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	for name, columns := range s.views {
		s.ksql.Views = append(s.ksql.Views, ksqldb.NewTable(name, columns...))
	}
	var err error
	s.ksqlServer, err = ksqldb.Start(t.Context(), s.ksql)
	require.NoError(t, err)
	t.Cleanup(s.ksqlServer.Close)
	s.fcmServer, err = fcm.Start(t.Context(), s.fcm)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.fcmServer.Close()) })
	s.ablyServer, err = ably.Start(t.Context(), s.ably)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.ablyServer.Close()) })

	tokens := filepath.Join(t.TempDir(), "tokens")
	code, _, stderr = command(t, nil, "admin-token", "--name", "alice", "--file", tokens)
	require.Equal(t, exitOK, code, stderr)
	for name, value := range map[string]string{
		"BUGLE_ENV":               "dev",
		"BUGLE_DATABASE_URL":      "sqlite:" + filepath.Join(t.TempDir(), "bugle.db"),
		"BUGLE_ADMIN_TOKENS_FILE": tokens,
		"BUGLE_KSQLDB_URL":        s.ksqlServer.URL(),
		"BUGLE_KSQLDB_USERNAME":   s.ksql.Username,
		"BUGLE_KSQLDB_PASSWORD":   s.ksql.Password,
		"BUGLE_AUTH_SECRET":       "hunter2 hunter2 hunter2 hunter2 hunter2",
		"BUGLE_FCM_PROJECT_ID":    s.fcmServer.ProjectID(),
		"BUGLE_FCM_CREDENTIALS":   string(s.fcmServer.CredentialsJSON()),
		"BUGLE_FCM_URL":           s.fcmServer.URL(),
		"BUGLE_ABLY_KEY":          s.ablyServer.Key(),
		"BUGLE_ABLY_URL":          s.ablyServer.URL(),
	} {
		if _, set := s.environ[name]; !set {
			s.environ[name] = value
		}
	}
	if s.late != nil {
		s.late(t, s)
	}
	var environ []string
	for name, value := range s.environ {
		environ = append(environ, name+"="+value)
	}
	code, stdout, stderr = command(t, environ, append([]string{"serve", "--check"}, args...)...)
	for _, secret := range []string{"hunter2", "PRIVATE KEY", strings.SplitN(s.ablyServer.Key(), ":", 2)[1], s.ksql.Password, "the-password-of-kafka"} {
		require.NotContains(t, stdout+stderr, secret)
	}
	return code, stdout, stderr
}

func newSeed() *seed {
	return &seed{
		views: goodViews(), environ: map[string]string{},
		ksql: ksqldb.Config{Username: "KEY", Password: "the-password-of-ksqldb"},
		fcm:  fcm.Config{}, ably: ably.Config{Keys: []ably.Key{{ID: "root"}}},
	}
}

func TestServeCheckOfAGoodConfigurationFindsNothing(t *testing.T) {
	t.Parallel()
	s := newSeed()
	code, stdout, stderr := s.check(t)
	require.Equal(t, exitOK, code, stdout+stderr)
	require.Contains(t, stdout, "0 errors, 0 warnings")
	for _, name := range []string{"rules", "database", "ksqldb", "auth", "admin tokens", "fcm", "ably", "ably tokens", "kafka", "schema registry", "clock"} {
		require.Regexp(t, `(?m)^`+name+` +ok `, stdout)
	}
	require.Empty(t, s.fcmServer.Accepted(), "nothing is sent")
	require.Empty(t, s.ablyServer.Accepted(), "nothing is sent")
	require.NoFileExists(t, strings.TrimPrefix(s.environ["BUGLE_DATABASE_URL"], "sqlite:"), "nothing is created")

	code, stdout, _ = newSeed().check(t, "--output", "json")
	require.Equal(t, exitOK, code)
	var report struct {
		OK     bool
		Checks []struct {
			Name     string
			OK       bool
			Findings []json.RawMessage
		}
	}
	require.NoError(t, json.Unmarshal([]byte(stdout), &report))
	require.True(t, report.OK)
	require.Len(t, report.Checks, 12)
}

// jwks serves a key set.
func jwks(t *testing.T, keys ...map[string]string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]any{"keys": keys})
	}))
	t.Cleanup(server.Close)
	return server.URL + "/jwks.json"
}

func rsaKey(t *testing.T, bits int) map[string]string {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	require.NoError(t, err)
	b64 := base64.RawURLEncoding.EncodeToString
	return map[string]string{
		"kty": "RSA", "kid": "k1", "use": "sig", "alg": "RS256",
		"n": b64(key.N.Bytes()), "e": b64(big.NewInt(int64(key.E)).Bytes()),
	}
}

func useJWKS(s *seed, url string) {
	s.environ["BUGLE_AUTH_SECRET"] = ""
	s.environ["BUGLE_AUTH_JWKS_URL"] = url
}

func closedPort(t *testing.T) string {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	return listener.Addr().String()
}

// dated is a proxy whose clock is off.
func dated(t *testing.T, target string, off time.Duration) string {
	t.Helper()
	u, err := url.Parse(target)
	require.NoError(t, err)
	proxy := httputil.NewSingleHostReverseProxy(u)
	proxy.ModifyResponse = func(r *http.Response) error {
		r.Header.Set("Date", time.Now().Add(off).UTC().Format(http.TimeFormat))
		return nil
	}
	server := httptest.NewServer(proxy)
	t.Cleanup(server.Close)
	return server.URL
}

func TestServeCheckNamesEveryMisconfiguration(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spoil func(t *testing.T, s *seed)
		want  []string // in the output, which must then exit with 1
		code  int      // 0 where it only warns
	}{
		"ksqldb unreachable": {
			func(t *testing.T, s *seed) { s.environ["BUGLE_KSQLDB_URL"] = "http://" + closedPort(t) },
			[]string{"ksqldb.url: the server cannot be reached"},
			1,
		},
		"ksqldb is something else": {func(_ *testing.T, s *seed) {
			s.late = func(_ *testing.T, s *seed) { s.environ["BUGLE_KSQLDB_URL"] = s.ablyServer.URL() }
		}, []string{"ksqldb.url"}, 1},
		"ksqldb password": {
			func(_ *testing.T, s *seed) { s.environ["BUGLE_KSQLDB_PASSWORD"] = "hunter2" },
			[]string{"ksqldb.username: the server refuses our credentials", "made for this ksqlDB cluster"},
			1,
		},
		"ksqldb certificate": {func(t *testing.T, s *seed) {
			server := httptest.NewUnstartedServer(nil)
			server.StartTLS()
			t.Cleanup(server.Close)
			s.ksql.TLS = &tls.Config{Certificates: server.TLS.Certificates, MinVersion: tls.VersionTLS12}
		}, []string{"ksqldb.ca_file: the server's certificate is signed by an unknown authority"}, 1},
		"ksqldb speaks no TLS": {func(_ *testing.T, s *seed) {
			s.late = func(_ *testing.T, s *seed) {
				s.environ["BUGLE_KSQLDB_URL"] = strings.Replace(s.ksqlServer.URL(), "http:", "https:", 1)
			}
		}, []string{"ksqldb.url: the server does not speak TLS"}, 1},
		"view missing": {
			func(_ *testing.T, s *seed) { delete(s.views, "UPCOMING_RACES") },
			[]string{"rules[race-soon].query: the view upcoming_races does not exist", "bugle migrate ksqldb apply", "rules[race-changed].query: the view"},
			1,
		},
		"column missing in the view": {
			func(_ *testing.T, s *seed) { s.retype("SETTLED_BETS", "PAYOUT", "") },
			[]string{"rules[bet-settled].version[1]: the view settled_bets has no column payout"},
			1,
		},
		"column missing in the query": {
			func(t *testing.T, s *seed) { s.rule(t, "currency, settled_at, ROWTIME", "settled_at, ROWTIME") },
			[]string{"rules[bet-settled].correction.body: the query's result has no column currency"},
			1,
		},
		"time of no fit type": {
			func(_ *testing.T, s *seed) { s.retype("SETTLED_BETS", "SETTLED_AT", "DOUBLE") },
			[]string{"rules[bet-settled].ttl.from: the column settled_at is DOUBLE, which is not a time"},
			1,
		},
		"order of no fit type": {
			func(t *testing.T, s *seed) { s.rule(t, "order: rowtime", "order: payout") },
			[]string{"rules[bet-settled].order: the column payout is DECIMAL(18, 2), which is not a whole number or a time"},
			1,
		},
		"time that is a text": {
			func(_ *testing.T, s *seed) { s.retype("SETTLED_BETS", "SETTLED_AT", "STRING") },
			[]string{"WARNING: rules[bet-settled].ttl.from: the column settled_at is STRING: each value must be an RFC 3339 time"},
			0,
		},
		"user of no fit type": {
			func(_ *testing.T, s *seed) { s.retype("SETTLED_BETS", "USER_ID", "ARRAY<STRING>") },
			[]string{"rules[bet-settled].audience.user: the column user_id is ARRAY<STRING>"},
			1,
		},
		"query refused": {
			func(t *testing.T, s *seed) {
				s.rule(t, "WHERE ROWTIME >= :since AND", "WHERE NONSENSE(ROWTIME) AND ROWTIME >= :since AND")
			},
			[]string{"rules[bet-settled].query: ksqlDB refuses the query"},
			1,
		},
		"fcm project": {
			func(_ *testing.T, s *seed) { s.environ["BUGLE_FCM_PROJECT_ID"] = "another-project" },
			[]string{"ERROR: fcm.project_id: is another-project, but the credentials belong to the project bugle-sandbox"},
			1,
		},
		"fcm key of another life": {func(t *testing.T, s *seed) {
			other, err := fcm.Start(t.Context(), fcm.Config{})
			require.NoError(t, err)
			defer func() { require.NoError(t, other.Close()) }()
			var key map[string]string
			require.NoError(t, json.Unmarshal(other.CredentialsJSON(), &key))
			s.late = func(t *testing.T, s *seed) {
				var own map[string]string
				require.NoError(t, json.Unmarshal(s.fcmServer.CredentialsJSON(), &own))
				own["private_key"] = key["private_key"]
				text, err := json.Marshal(own)
				require.NoError(t, err)
				s.environ["BUGLE_FCM_CREDENTIALS"] = string(text)
			}
		}, []string{"fcm.credentials: Google's token server refuses the key", "invalid_grant"}, 1},
		"fcm key of no use": {func(_ *testing.T, s *seed) {
			s.environ["BUGLE_FCM_CREDENTIALS"] = `{"type":"service_account","client_email":"x@y","private_key":"hunter2"}`
		}, []string{`fcm.credentials: configure fcm: read credentials: the service account key's "private_key" is not PEM`}, 1},
		"fcm role": {func(_ *testing.T, s *seed) {
			s.fcm.Faults = fcm.Faults{Rules: []fcm.FaultRule{{Kind: fcm.PermissionDenied, Probability: 1}}, MaxPerMessage: -1}
		}, []string{"fcm.project_id: the service account may not send", "Firebase Cloud Messaging API Admin"}, 1},
		"fcm api": {func(_ *testing.T, s *seed) {
			s.fcm.Faults = fcm.Faults{Rules: []fcm.FaultRule{{Kind: fcm.ServiceDisabled, Probability: 1}}, MaxPerMessage: -1}
		}, []string{"fcm.project_id: the FCM API is not enabled"}, 1},
		"fcm unreachable": {
			func(t *testing.T, s *seed) { s.environ["BUGLE_FCM_URL"] = "http://" + closedPort(t) },
			[]string{"fcm.url: FCM cannot be reached"},
			1,
		},
		"ably key": {func(_ *testing.T, s *seed) {
			s.late = func(_ *testing.T, s *seed) { s.environ["BUGLE_ABLY_KEY"] = s.ablyServer.AppID() + ".root:hunter2" }
		}, []string{"ably.key: Ably refuses the key"}, 1},
		"ably key of no form": {
			func(_ *testing.T, s *seed) { s.environ["BUGLE_ABLY_KEY"] = "hunter2" },
			[]string{"ably.key (BUGLE_ABLY_KEY): is not of the form appId.keyId:secret"},
			1,
		},
		"ably push-admin": {func(_ *testing.T, s *seed) {
			s.ably.Keys[0].Capability = map[string][]string{"*": {"publish"}, "[meta]log:push": {"subscribe", "history"}}
		}, []string{"ably.key: the key lacks the capability push-admin"}, 1},
		"ably push log": {
			func(_ *testing.T, s *seed) { s.ably.Keys[0].Capability = map[string][]string{"*": {"*"}} },
			[]string{"ably.key: the key lacks the capability subscribe and history on [meta]log:push", "does not cover metachannels"},
			1,
		},
		"ably history": {func(_ *testing.T, s *seed) {
			s.ably.Keys[0].Capability = map[string][]string{"*": {"*"}, "[meta]log:push": {"subscribe"}}
		}, []string{"ably.key: the key lacks the capability history on [meta]log:push"}, 1},
		"ably unreachable": {
			func(t *testing.T, s *seed) { s.environ["BUGLE_ABLY_URL"] = "http://" + closedPort(t) },
			[]string{"ably.url: Ably cannot be reached"},
			1,
		},
		"issuer unreachable": {
			func(t *testing.T, s *seed) { useJWKS(s, "http://"+closedPort(t)+"/jwks.json") },
			[]string{"auth.jwks_url: the issuer's keys cannot be used"},
			1,
		},
		"issuer's key too weak": {
			func(t *testing.T, s *seed) { useJWKS(s, jwks(t, rsaKey(t, 1024))) },
			[]string{"auth.jwks_url: the issuer's keys cannot be used", "2048 bits"},
			1,
		},
		"issuer is fine": {func(t *testing.T, s *seed) {
			useJWKS(s, jwks(t, rsaKey(t, 2048)))
			s.environ["BUGLE_AUTH_AUDIENCE"] = "my-app"
		}, []string{"0 errors, 0 warnings"}, 0},
		"issuer's tokens for anybody": {
			func(t *testing.T, s *seed) { useJWKS(s, jwks(t, rsaKey(t, 2048))) },
			[]string{"auth.audience: is not set", "0 errors, 1 warning"},
			0,
		},
		"folder of the database": {func(t *testing.T, s *seed) {
			s.environ["BUGLE_DATABASE_URL"] = "sqlite:" + filepath.Join(t.TempDir(), "none", "bugle.db")
		}, []string{"database.url: the folder", "does not exist"}, 1},
		"no database": {func(t *testing.T, s *seed) {
			s.environ["BUGLE_DATABASE_URL"] = "sqlite:" + write(t, "bugle.db", strings.Repeat("this is no database\n", 1000))
		}, []string{"database.url: the database"}, 1},
		"database of tomorrow": {
			func(t *testing.T, s *seed) { s.environ["BUGLE_DATABASE_URL"] = migrated(t, 9999) },
			[]string{"WARNING: database.url: a newer Bugle has migrated the database to version 9999"},
			0,
		},
		"no database server": {func(t *testing.T, s *seed) {
			s.environ["BUGLE_DATABASE_URL"] = "postgres://bugle:hunter2@127.0.0.1:1/bugle?sslmode=disable"
		}, []string{"database.url: the database cannot be opened", "look whether the server runs"}, 1},
		"database of yesterday": {
			func(t *testing.T, s *seed) { s.environ["BUGLE_DATABASE_URL"] = migrated(t, 0) },
			[]string{"WARNING: database.url: the database is at version", "serve migrates at its start"},
			0,
		},
		"category": {
			func(_ *testing.T, s *seed) { s.environ["BUGLE_CATEGORIES"] = "{rcae: {opt_in: true}}" },
			[]string{"categories.rcae: no rule has this category", "ksqldb", "0 warnings"},
			1,
		},
		"rules file": {
			func(t *testing.T, s *seed) { s.rule(t, "class: transactional", "class: important") },
			[]string{"rules[0].class: must be one of"},
			1,
		},
		"no operator": {
			func(_ *testing.T, s *seed) { s.environ["BUGLE_ADMIN_TOKENS_FILE"] = "" },
			[]string{"WARNING: admin.tokens_file: is not set"},
			0,
		},
		"tokens file": {
			func(_ *testing.T, s *seed) { s.environ["BUGLE_ADMIN_TOKENS_FILE"] = "/does/not/exist" },
			[]string{"admin.tokens_file", "no such file"},
			1,
		},
		"kafka password": {
			func(t *testing.T, s *seed) { useKafka(t, s); s.environ["BUGLE_KAFKA_PASSWORD"] = "hunter2" },
			[]string{"kafka.username: the cluster refuses our credentials", "API key of the Kafka cluster"},
			1,
		},
		"kafka topics": {
			func(t *testing.T, s *seed) {
				useKafka(t, s)
				s.environ["BUGLE_RELAY"] = `[{topic: odd, channel: "outbound:odds:#{key}", dead_letter: dead-odds}]`
				s.environ["BUGLE_ODDS_TOPIC"] = "ods"
				s.environ["BUGLE_BETS_TOPIC"] = "bet"
				s.environ["BUGLE_BETS_DEAD_LETTER_TOPIC"] = "dead-bets"
			},
			[]string{
				"relay[0].topic: the topic odd does not exist", "relay[0].dead_letter: the topic dead-odds", "odds.topic: the topic ods",
				"bets.topic: the topic bet does not exist", "bets.dead_letter_topic: the topic dead-bets", "confluent kafka topic create dead-bets",
				"5 errors, 0 warnings",
			},
			1,
		},
		"ably publish": {
			func(t *testing.T, s *seed) {
				useKafka(t, s)
				s.ably.Keys[0].Capability = map[string][]string{"*": {"subscribe", "history", "presence", "push-admin"}, "[meta]log:push": {"*"}, "inbound:betting:*": {"publish"}}
			},
			[]string{"ably.key: the key lacks the capability publish on outbound:odds:*, so that Bugle cannot relay the topic odds", "1 error, 0 warnings"},
			1,
		},
		"ably publish somewhere": {
			func(t *testing.T, s *seed) {
				useKafka(t, s)
				s.ably.Keys[0].Capability = map[string][]string{"*": {"subscribe", "history", "presence", "push-admin"}, "[meta]log:push": {"*"}, "*:*": {"publish"}, "outbound:odds:cars:*": {"publish"}}
				s.ably.Keys[0].Capability["inbound:betting:*"] = []string{"publish"}
				delete(s.ably.Keys[0].Capability, "*:*")
			},
			[]string{"WARNING: ably.key: the key has no more than publish on outbound:odds:cars:* of outbound:odds:*"},
			0,
		},
		"ably tokens": {
			func(t *testing.T, s *seed) {
				useKafka(t, s)
				s.ably.Keys = append(s.ably.Keys, ably.Key{ID: "apps", Capability: map[string][]string{"outbound:odds:*": {"subscribe"}, "inbound:betting:*": {"*"}}})
				s.late = func(_ *testing.T, s *seed) {
					s.environ["BUGLE_ABLY_TOKEN_KEY"] = s.ablyServer.AppID() + ".apps:hunter2"
				}
			},
			[]string{"ably.token_key: Ably refuses the key", "1 error, 0 warnings"},
			1,
		},
		"schema registry": {
			func(t *testing.T, s *seed) {
				useKafka(t, s)
				s.environ["BUGLE_KAFKA_SCHEMA_REGISTRY_URL"] = "http://" + closedPort(t)
			},
			[]string{"kafka.schema_registry.url: the Schema Registry cannot be reached"},
			1,
		},
		"kafka is fine": {useKafka, []string{"0 errors, 0 warnings"}, 0},
		"clock fast": {func(_ *testing.T, s *seed) {
			s.late = func(t *testing.T, s *seed) {
				s.environ["BUGLE_KSQLDB_URL"] = dated(t, s.ksqlServer.URL(), -time.Minute)
			}
		}, []string{"ERROR: ksqldb.url: this machine's clock is", "ahead of that of the server", "NTP"}, 1},
		"clock slow": {func(_ *testing.T, s *seed) {
			s.late = func(t *testing.T, s *seed) {
				s.environ["BUGLE_KSQLDB_URL"] = dated(t, s.ksqlServer.URL(), 15*time.Second)
			}
		}, []string{"WARNING: ksqldb.url: this machine's clock is", "behind that of the server"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSeed()
			c.spoil(t, s)
			code, stdout, stderr := s.check(t)
			for _, want := range c.want {
				require.Contains(t, stdout+stderr, want)
			}
			require.Equal(t, c.code, code, stdout+stderr)
			if code == 1 && stdout != "" {
				require.Contains(t, stderr, "not fit to run")
				require.NotContains(t, stdout, ": 0 errors")
				require.Contains(t, stdout, "to mend:")
			}
		})
	}
}

// useKafka starts a Kafka with all that the relay, bets and local odds want.
func useKafka(t *testing.T, s *seed) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.EnableSASL(), kfake.Superuser("PLAIN", "KEY", "the-password-of-kafka"),
		kfake.SeedTopics(2, "odds", "odds-dead-letters", "bets", "bets-dead-letters"))
	require.NoError(t, err)
	t.Cleanup(cluster.Close)
	s.environ["BUGLE_KAFKA_BROKERS"] = "[" + strings.Join(cluster.ListenAddrs(), ", ") + "]"
	s.environ["BUGLE_KAFKA_TLS"] = "false"
	s.environ["BUGLE_KAFKA_SASL"] = "PLAIN"
	s.environ["BUGLE_KAFKA_USERNAME"] = "KEY"
	s.environ["BUGLE_KAFKA_PASSWORD"] = "the-password-of-kafka"
	s.environ["BUGLE_RELAY"] = `[{topic: odds, channel: "outbound:odds:#{key}", dead_letter: odds-dead-letters}]`
	s.environ["BUGLE_ODDS_TOPIC"] = "odds"
	s.environ["BUGLE_BETS_ENABLED"] = "true"
}

// migrated returns a database whose newest version has another number; 0 takes it away.
func migrated(t *testing.T, version int) string {
	t.Helper()
	url := "sqlite:" + filepath.Join(t.TempDir(), "bugle.db")
	code, _, stderr := command(t, []string{"BUGLE_DATABASE_URL=" + url}, "migrate", "up")
	require.Equal(t, exitOK, code, stderr)
	db, err := sqldb.Open(t.Context(), url, sqldb.Options{})
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	require.NoError(t, db.Tx(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
		if version == 0 {
			_, err := tx.ExecContext(ctx, `DELETE FROM goose_db_version WHERE version_id = (SELECT MAX(version_id) FROM goose_db_version)`)
			return err
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO goose_db_version (version_id, is_applied) VALUES ($1, TRUE)`, version)
		return err
	}))
	return url
}

func TestServeCheckReportsEverythingAtOnce(t *testing.T) {
	t.Parallel()
	s := newSeed()
	delete(s.views, "UPCOMING_RACES")
	s.retype("SETTLED_BETS", "SETTLED_AT", "DOUBLE")
	s.ably.Keys[0].Capability = map[string][]string{"*": {"publish"}}
	s.environ["BUGLE_FCM_PROJECT_ID"] = "another-project"
	s.environ["BUGLE_ADMIN_TOKENS_FILE"] = "/does/not/exist"
	useJWKS(s, "http://"+closedPort(t)+"/jwks.json")
	code, stdout, _ := s.check(t, "--output", "json")
	require.Equal(t, exitFailure, code)
	var report struct {
		OK     bool
		Checks []struct {
			Name     string
			OK       bool
			Findings []struct{ Severity, Path, What, Mend string }
		}
	}
	require.NoError(t, json.Unmarshal([]byte(stdout), &report))
	require.False(t, report.OK)
	var paths []string
	for _, c := range report.Checks {
		for _, f := range c.Findings {
			require.False(t, c.OK)
			require.NotEmpty(t, f.What)
			require.NotEmpty(t, f.Mend)
			paths = append(paths, f.Path)
		}
	}
	require.Subset(t, paths, []string{
		"rules[race-soon].query", "rules[race-changed].query", "rules[bet-settled].ttl.from", "auth.jwks_url",
		"fcm.project_id", "ably.key", "admin.tokens_file",
	})
}

func TestServeCheckWantsAFormThatItKnows(t *testing.T) {
	t.Parallel()
	code, _, stderr := command(t, nil, "serve", "--check", "--output", "xml")
	require.Equal(t, exitUsage, code)
	require.Contains(t, stderr, "wants table or json")
	code, _, stderr = command(t, nil, "serve", "--check", "--print-config")
	require.Equal(t, exitUsage, code)
	require.Contains(t, stderr, "print-config")
}
