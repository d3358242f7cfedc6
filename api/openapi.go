package api

import (
	"cmp"
	"net/http"
	"reflect"
	"slices"
	"strconv"

	"github.com/danielgtaylor/huma/v2"
)

// example is a request with its answer, as the OpenAPI document shows it. The
// parts of one stand at different places of the document under one name: so a
// reader, and the test that runs every example, finds what belongs together.
type example struct {
	// name is in snake case, unique within the operation.
	name    string
	summary string
	// params are the parameters of path and query; body is nil for none.
	params map[string]any
	body   any
	status int
	// answer is nil when the status has no body.
	answer any
}

// newOpenAPI is the frame of the document.
func newOpenAPI(version string) *huma.OpenAPI {
	return &huma.OpenAPI{
		OpenAPI: "3.1.0",
		Info: &huma.Info{
			Title: "Bugle", Version: cmp.Or(version, "dev"),
			Description: "Activate devices for push notifications, choose what to hear about, and sync what was sent. " +
				"Every answer that is not a success is a problem (RFC 9457): branch on its type.",
		},
		Tags: []*huma.Tag{
			{Name: "devices", Description: "Where a user is reached."},
			{Name: "preferences", Description: "What a user wants to hear about."},
			{Name: "notifications", Description: "What a user was told."},
			{Name: "ably", Description: "Live odds and bets, over Ably."},
			{Name: "odds", Description: "The newest odds of events, when odds are configured."},
		},
		Components: &huma.Components{
			Schemas: huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer),
			SecuritySchemes: map[string]*huma.SecurityScheme{
				"user": {Type: "http", Scheme: "bearer", BearerFormat: "JWT", Description: "The token's subject is the user."},
			},
		},
		Security: []map[string][]string{{"user": {}}},
	}
}

// problemSchema refers to the schema of problems.
func problemSchema(api huma.API) *huma.Schema {
	return api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[Problem](), true, "Problem")
}

// operationOf finds what huma made of an operation.
func operationOf(api huma.API, op huma.Operation) *huma.Operation {
	item := api.OpenAPI().Paths[op.Path]
	switch op.Method {
	case http.MethodGet:
		return item.Get
	case http.MethodPut:
		return item.Put
	case http.MethodPost:
		return item.Post
	}
	panic("api: examples for the method " + op.Method + " are not written anywhere yet")
}

// document writes examples into an operation: its own, and those of the
// problems that any operation may answer.
func document(api huma.API, op *huma.Operation, own []example) {
	all := slices.Concat(own, commonExamples(op, own))
	for _, e := range all {
		shown := func(v any) *huma.Example { return &huma.Example{Summary: e.summary, Value: v} }
		for _, p := range op.Parameters {
			v, ok := e.params[p.Name]
			if !ok {
				continue
			}
			p.Example = nil // an example and examples exclude each other
			put(&p.Examples, e.name, shown(v))
		}
		if e.body != nil {
			for _, media := range op.RequestBody.Content {
				media.Example = nil
				put(&media.Examples, e.name, shown(e.body))
			}
		}
		answer := answerFor(api, op, e.status)
		if e.answer == nil {
			continue
		}
		for _, media := range answer.Content {
			put(&media.Examples, e.name, shown(e.answer))
		}
	}
}

// answerFor returns the documented answer of a status, made new for a problem.
func answerFor(api huma.API, op *huma.Operation, status int) *huma.Response {
	key := strconv.Itoa(status)
	if r := op.Responses[key]; r != nil {
		return r
	}
	_, title := slugAndTitle(status)
	r := &huma.Response{
		Description: title,
		Content:     map[string]*huma.MediaType{problemMedia: {Schema: problemSchema(api)}},
	}
	switch status {
	case http.StatusUnauthorized:
		r.Headers = map[string]*huma.Header{"WWW-Authenticate": {Description: "RFC 6750, section 3", Schema: &huma.Schema{Type: huma.TypeString}}}
	case http.StatusTooManyRequests:
		r.Headers = map[string]*huma.Header{"Retry-After": {Description: "Seconds to wait", Schema: &huma.Schema{Type: huma.TypeInteger}}}
	}
	op.Responses[key] = r
	return r
}

func put(examples *map[string]*huma.Example, name string, e *huma.Example) {
	if *examples == nil {
		*examples = map[string]*huma.Example{}
	}
	(*examples)[name] = e
}

// commonExamples are the problems that have nothing to do with what an
// operation does. Their request is that of the operation's first example.
func commonExamples(op *huma.Operation, own []example) []example {
	common := []example{
		{name: "no_token", summary: "There is no token", status: 401, answer: problemExample(401, "one Authorization header with a bearer token is needed")},
		{name: "expired_token", summary: "The token is too old: get a new one", status: 401, answer: problemExample(401, "the token has expired")},
		{name: "too_many_requests", summary: "Wait as long as Retry-After says", status: 429, answer: problemExample(429, "too many requests of this user; see the Retry-After header")},
		{name: "unavailable", summary: "Something that is needed does not answer: try again", status: 503, answer: problemExample(503, "the database does not answer")},
	}
	if op.RequestBody != nil {
		common = append(common,
			example{name: "too_large", summary: "The body is too large", status: 413, answer: problemExample(413, "a body may have 16384 bytes")},
			example{name: "not_json", summary: "The Content-Type is not application/json", status: 415, answer: problemExample(415, "Content-Type must be application/json")},
		)
	}
	if isAnonymous(op) {
		common = slices.DeleteFunc(common, func(e example) bool { return e.status == http.StatusUnauthorized })
	}
	for i := range common {
		common[i].params = own[0].params
	}
	return common
}

func problemExample(status int, detail string, fields ...ProblemField) *Problem {
	slug, title := slugAndTitle(status)
	return &Problem{
		Type: problemType + slug, Title: title, Status: status, Detail: detail,
		Instance: "VJTLE2M5XQ4ZQJ6O7T2W3K4NRA", Errors: fields,
	}
}
