package preflight

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bugle-push/bugle/ksqlclient"
	"github.com/bugle-push/bugle/notifier"
)

// KSQLDB is the part of ksqlclient.Client that the check asks.
type KSQLDB interface {
	Info(ctx context.Context) (ksqlclient.Info, error)
	Health(ctx context.Context) (ksqlclient.Health, error)
	Columns(ctx context.Context, sql string, params ksqlclient.Params, options ...ksqlclient.Option) ([]ksqlclient.Column, error)
	Describe(ctx context.Context, name string) (ksqlclient.Source, error)
}

const (
	pathKSQL = "ksqldb.url"
	// queryTimeout bounds the header of one rule's query.
	queryTimeout = 15 * time.Second
	// queriesAtOnce keeps a large set of rules from being a load.
	queriesAtOnce = 4
)

// KSQL checks that the server answers and takes our credentials, and that each
// rule's query is one that it takes, with the columns that the rule reads in
// types that fit. Rules whose mode is paused are checked as well: they are meant
// to run one day.
func KSQL(client KSQLDB, rules []*notifier.Rule, now time.Time) Check {
	return Check{Name: "ksqldb", Do: func(ctx context.Context) []Finding {
		if _, err := client.Info(ctx); err != nil {
			// Without it, every rule would say the same again.
			return []Finding{ksqlTrouble(err)}
		}
		found := make([][]Finding, len(rules)+1)
		if _, err := client.Health(ctx); err != nil {
			found[0] = []Finding{warningf(pathKSQL, "see the server's log; runs fail until it is healthy", "the server is not healthy: %s", err)}
		}
		var all sync.WaitGroup
		slots := make(chan struct{}, queriesAtOnce)
		for i, rule := range rules {
			all.Go(func() {
				slots <- struct{}{}
				defer func() { <-slots }()
				found[i+1] = checkRule(ctx, client, rule, now)
			})
		}
		all.Wait()
		return slices.Concat(found...)
	}}
}

// ksqlTrouble explains why the server cannot be asked.
func ksqlTrouble(err error) Finding {
	var (
		unknownAuthority x509.UnknownAuthorityError
		hostname         x509.HostnameError
		invalid          x509.CertificateInvalidError
		record           tls.RecordHeaderError
		lookup           *net.DNSError
	)
	switch {
	case errors.Is(err, ksqlclient.ErrUnauthorized):
		return errorf("ksqldb.username", "give a key and secret that were made for this ksqlDB cluster (confluent api-key create --resource lksqlc-…), not for the Kafka cluster or the cloud account",
			"the server refuses our credentials: %s", err)
	case errors.Is(err, ksqlclient.ErrForbidden):
		return errorf("ksqldb.username", "grant the account access to the ksqlDB cluster", "the server knows us and does not let us in: %s", err)
	case errors.As(err, &unknownAuthority):
		return errorf("ksqldb.ca_file", "give the authority that signed the server's certificate as PEM", "the server's certificate is signed by an unknown authority")
	case errors.As(err, &hostname):
		return errorf(pathKSQL, "use the name that stands in the certificate", "the server's certificate is for another host")
	case errors.As(err, &invalid):
		return errorf("ksqldb.ca_file", "renew the certificate, or correct this machine's clock", "the server's certificate is not valid: %s", invalid)
	case errors.As(err, &record), errors.Is(err, http.ErrSchemeMismatch):
		return errorf(pathKSQL, "use http:// (with env: dev), or the server's TLS port", "the server does not speak TLS at this address")
	case errors.As(err, &lookup):
		return errorf(pathKSQL, "correct the host name, or this machine's DNS", "the host's name cannot be resolved: %s", err)
	case errors.Is(err, ksqlclient.ErrUnavailable):
		return errorf(pathKSQL, "wait until it has started, then check again", "the server is not ready: %s", err)
	case errors.Is(err, ksqlclient.ErrMalformed):
		return errorf(pathKSQL, "give the address of a ksqlDB server", "whatever answers there is no ksqlDB: %s", err)
	}
	return errorf(pathKSQL, "start the server, correct the address, or open the way to it", "the server cannot be reached: %s", err)
}

func rulePath(rule *notifier.Rule, part string) string {
	return fmt.Sprintf("rules[%s].%s", rule.ID, part)
}

// checkRule asks for the header of the rule's own query over an empty window.
// The server sends it before it looks for rows, and the request ends there.
func checkRule(ctx context.Context, client KSQLDB, rule *notifier.Rule, now time.Time) []Finding {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	now = now.UTC().Truncate(time.Second)
	params := ksqlclient.Params(rule.Params(notifier.Window{Now: now, Since: now, Until: now}))
	columns, err := client.Columns(ctx, rule.Query, params)
	if err == nil {
		return fit(rule, columns)
	}
	refused, ok := errors.AsType[*ksqlclient.Error](err)
	if !ok || refused.Code != ksqlclient.CodeBadStatement {
		return []Finding{errorf(rulePath(rule, "query"), "run the query by hand (bugle rules preview "+rule.ID+")", "the query fails: %s", err)}
	}
	return explainRefusal(ctx, client, rule, refused)
}

// fromName finds the source of a query. It is asked about a query that the
// server has refused, so that a wrong guess does no harm.
var fromName = regexp.MustCompile("(?i)\\bFROM\\s+(`[^`]+`|[A-Za-z_][A-Za-z0-9_]*)")

// explainRefusal finds out what a refused query lacks: the source, or columns of it.
func explainRefusal(ctx context.Context, client KSQLDB, rule *notifier.Rule, refused *ksqlclient.Error) []Finding {
	path := rulePath(rule, "query")
	generic := []Finding{errorf(path, "correct the query; if the view is new or partitions are moving, check again in a minute", "ksqlDB refuses the query: %s", refused.Message)}
	m := fromName.FindStringSubmatch(rule.Query)
	if m == nil {
		return generic
	}
	source, err := client.Describe(ctx, m[1])
	if e, ok := errors.AsType[*ksqlclient.Error](err); ok && e.Code == ksqlclient.CodeBadStatement {
		return []Finding{errorf(path, "create it (bugle migrate ksqldb apply makes the views of the built-in rules), or correct the name",
			"the view %s does not exist", strings.ToLower(m[1]))}
	}
	if err != nil {
		return generic
	}
	var found []Finding
	for _, u := range firstUses(rule) {
		if _, ok := source.Column(u.Column); ok || pseudo(u.Column, source.Windowed) || named(rule.Query, u.Column) {
			continue
		}
		found = append(found, errorf(rulePath(rule, u.Path), "add it to the view, or change the rule",
			"the view %s has no column %s", strings.ToLower(source.Name), u.Column))
	}
	if len(found) == 0 {
		return generic
	}
	return found
}

// firstUses returns the uses of the rule, each column once.
func firstUses(rule *notifier.Rule) []notifier.ColumnUse {
	var out []notifier.ColumnUse
	for _, u := range rule.Columns() {
		if !slices.ContainsFunc(out, func(o notifier.ColumnUse) bool { return o.Column == u.Column }) {
			out = append(out, u)
		}
	}
	return out
}

// pseudo tells whether ksqlDB adds a column to every source (ksqlDB: "Pseudo columns").
func pseudo(name string, windowed bool) bool {
	switch name {
	case "rowtime", "rowpartition", "rowoffset":
		return true
	case "windowstart", "windowend":
		return windowed
	}
	return false
}

// named tells whether the query itself gives a column that name.
func named(query, column string) bool {
	return regexp.MustCompile("(?i)\\bAS\\s+`?" + regexp.QuoteMeta(column) + "\\b").MatchString(query)
}

// fit compares the columns of the result with what the rule reads.
func fit(rule *notifier.Rule, columns []ksqlclient.Column) []Finding {
	var found []Finding
	missing := map[string]bool{}
	for _, u := range rule.Columns() {
		i := slices.IndexFunc(columns, func(c ksqlclient.Column) bool { return c.Name == u.Column })
		if i < 0 {
			if !missing[u.Column] {
				missing[u.Column] = true
				found = append(found, errorf(rulePath(rule, u.Path), "add it to the SELECT of the query",
					"the query's result has no column %s", u.Column))
			}
			continue
		}
		kind := columns[i].Type
		switch verdict, wants := suits(u.Need, kind); verdict {
		case suitsNot:
			found = append(found, errorf(rulePath(rule, u.Path), "cast it in the query, or name another column",
				"the column %s is %s, which is not %s", u.Column, kind, wants))
		case suitsPerhaps:
			found = append(found, warningf(rulePath(rule, u.Path), "nothing, when every row has it so; rows that do not are set aside as bad",
				"the column %s is %s: each value must be %s", u.Column, kind, wants))
		case suitsWell:
		}
	}
	return found
}

type suitability uint8

const (
	suitsWell suitability = iota
	suitsPerhaps
	suitsNot
)

// suits tells whether a type can be what a rule needs, and names the need. It
// follows what the rules make of values: times as TIMESTAMP, as epoch
// milliseconds, or as RFC 3339 text.
func suits(need notifier.ColumnNeed, t ksqlclient.Type) (suitability, string) {
	switch need {
	case notifier.NeedAny: // whatever a row can hold
	case notifier.NeedScalar:
		unfit := []ksqlclient.TypeKind{ksqlclient.TypeBytes, ksqlclient.TypeArray, ksqlclient.TypeMap, ksqlclient.TypeStruct}
		if slices.Contains(unfit, t.Kind) {
			return suitsNot, "text, a number or true or false"
		}
	case notifier.NeedNumber:
		switch t.Kind {
		case ksqlclient.TypeBigint, ksqlclient.TypeInteger, ksqlclient.TypeDouble, ksqlclient.TypeDecimal:
		case ksqlclient.TypeString:
			return suitsPerhaps, "a number"
		default:
			return suitsNot, "a number"
		}
	case notifier.NeedOrder:
		const wants = "a whole number or a time (BIGINT, INTEGER or TIMESTAMP)"
		switch t.Kind {
		case ksqlclient.TypeBigint, ksqlclient.TypeInteger, ksqlclient.TypeTimestamp:
		case ksqlclient.TypeDecimal:
			if t.Scale != 0 {
				return suitsNot, wants
			}
		case ksqlclient.TypeString:
			return suitsPerhaps, "an RFC 3339 time"
		default:
			return suitsNot, wants
		}
	case notifier.NeedTime:
		switch t.Kind {
		case ksqlclient.TypeTimestamp, ksqlclient.TypeBigint:
		case ksqlclient.TypeString:
			return suitsPerhaps, "an RFC 3339 time"
		default:
			return suitsNot, "a time (TIMESTAMP, or BIGINT with epoch milliseconds)"
		}
	}
	return suitsWell, ""
}
