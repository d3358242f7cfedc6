package fcm

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
)

// maxTopicTokens is how many tokens one call may name. Source: Google,
// "Manage topic subscriptions".
const maxTopicTokens = 1000

// Subscriptions returns the tokens subscribed to a topic, sorted.
func (s *Server) Subscriptions(topic string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for t := range s.topics[topic] {
		out = append(out, t)
	}
	slices.Sort(out)
	return out
}

// serveTopics is /iid/v1:batchAdd and :batchRemove. The stand-in records
// subscriptions; it does not fan messages to a topic out to them.
func (s *Server) serveTopics(w http.ResponseWriter, r *http.Request, add bool) {
	s.mu.Lock()
	s.stats.OtherRequests++
	s.mu.Unlock()
	_ = s.subscribe(w, r, add).write(w, r) // the client may be gone; the change stands
}

func (s *Server) subscribe(w http.ResponseWriter, r *http.Request, add bool) *answer {
	if a := s.authorize(r); a != nil {
		return a
	}
	bad := func(reason string) *answer {
		return &answer{status: http.StatusBadRequest, body: map[string]string{"error": reason}}
	}
	if r.Header.Get("access_token_auth") != "true" {
		return &answer{status: http.StatusUnauthorized, body: map[string]string{"error": "Unauthorized"}}
	}
	var req struct {
		To     string   `json:"to"`
		Tokens []string `json:"registration_tokens"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, s.cfg.MaxBodyBytes)).Decode(&req); err != nil {
		return bad("InvalidRequest")
	}
	topic, ok := strings.CutPrefix(req.To, "/topics/")
	if !ok || !s.rules.topic.MatchString(topic) {
		return bad("InvalidTopicName")
	}
	if len(req.Tokens) == 0 || len(req.Tokens) > maxTopicTokens {
		return bad("InvalidRequest")
	}
	results := make([]map[string]string, len(req.Tokens))
	for i, token := range req.Tokens {
		results[i] = map[string]string{}
		_, refused := s.platformOfTarget(fields{"token": token})
		if refused != nil {
			results[i]["error"] = "NOT_FOUND"
			if refused.status == http.StatusBadRequest {
				results[i]["error"] = "INVALID_ARGUMENT"
			}
			continue
		}
		s.mu.Lock()
		if s.topics[topic] == nil {
			s.topics[topic] = map[string]struct{}{}
		}
		if add {
			s.topics[topic][token] = struct{}{}
		} else {
			delete(s.topics[topic], token)
		}
		s.mu.Unlock()
	}
	return &answer{status: http.StatusOK, body: map[string]any{"results": results}}
}
