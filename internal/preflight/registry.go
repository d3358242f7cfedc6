package preflight

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"time"
)

// RegistryConfig says how to reach a Schema Registry.
type RegistryConfig struct {
	// URL is its address, without a slash at the end.
	URL string
	// Username and Password are for Basic authentication; empty for none.
	Username, Password string
	// Transport makes the request; nil means http.DefaultTransport.
	Transport http.RoundTripper
}

const (
	pathRegistry     = "kafka.schema_registry.url"
	pathRegistryUser = "kafka.schema_registry.username"

	registryTimeout   = 10 * time.Second
	maxRegistryAnswer = 64 << 10
)

// Registry checks that a Schema Registry answers, takes our credentials, and
// has schemas of the kinds that the relay decodes.
func Registry(c RegistryConfig) Check {
	return Check{Name: "schema registry", Do: func(ctx context.Context) []Finding {
		ctx, cancel := context.WithTimeout(ctx, registryTimeout)
		defer cancel()
		// The kinds of schemas (Confluent: "Schema Registry API"): a short list, for
		// which credentials are asked.
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.URL+"/schemas/types", http.NoBody)
		if err != nil {
			return []Finding{errorf(pathRegistry, "correct the address", "the address is not valid")}
		}
		req.Header.Set("Accept", "application/vnd.schemaregistry.v1+json, application/json")
		if c.Username != "" {
			req.SetBasicAuth(c.Username, c.Password)
		}
		transport := c.Transport
		if transport == nil {
			transport = http.DefaultTransport
		}
		resp, err := transport.RoundTrip(req) // no redirect is followed: the password goes to nobody else
		if err != nil {
			return []Finding{errorf(pathRegistry, "start the registry, correct the address (http:// or https://, and the port) or kafka.schema_registry.ca_file, or open the way to it", "the Schema Registry cannot be reached: %s", err)}
		}
		defer resp.Body.Close()
		return registryFindings(resp)
	}}
}

func registryFindings(resp *http.Response) []Finding {
	switch {
	case resp.StatusCode == http.StatusUnauthorized:
		return []Finding{errorf(pathRegistryUser, "give a user and password of the Schema Registry; on Confluent Cloud an API key that was made for it (confluent api-key create --resource lsrc-…), not for the Kafka cluster",
			"the Schema Registry refuses our credentials")}
	case resp.StatusCode == http.StatusForbidden:
		return []Finding{errorf(pathRegistryUser, "let the account read the subjects of the topics (DeveloperRead)", "the Schema Registry knows us and does not let us in")}
	case resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode >= 500:
		return []Finding{warningf(pathRegistry, "check again in a minute", "the Schema Registry is overloaded or in trouble (status %d)", resp.StatusCode)}
	}
	var kinds []string
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxRegistryAnswer))
	if err == nil {
		err = json.Unmarshal(answer, &kinds)
	}
	if resp.StatusCode != http.StatusOK || err != nil || !slices.Contains(kinds, "AVRO") {
		return []Finding{errorf(pathRegistry, "give the address of a Schema Registry of version 5.5 or newer", "whatever answers there is no Schema Registry (status %d)", resp.StatusCode)}
	}
	return nil
}
