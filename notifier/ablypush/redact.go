package ablypush

import (
	"encoding/base64"
	"net/url"
	"regexp"
	"strings"

	"github.com/bugle-push/bugle/devices"
)

const redacted = "[redacted]"

// addressQuery is the query of an address in a text, where ably-go puts the key
// and the connection's own key.
var addressQuery = regexp.MustCompile(`\?[^\s"'<>]*`)

// secretParam is a secret parameter in any other place.
var secretParam = regexp.MustCompile(`(?i)\b(key|access_?token|resume|recover)=[^&\s"'<>]*`)

// redactor takes a key out of texts that ably-go makes.
type redactor struct{ replacer *strings.Replacer }

func newRedactor(key devices.Secret) redactor {
	name, secret, _ := strings.Cut(key.Reveal(), ":")
	var pairs []string
	for _, s := range []string{key.Reveal(), secret, name} {
		for _, form := range []string{s, url.QueryEscape(s), url.PathEscape(s), base64.StdEncoding.EncodeToString([]byte(s))} {
			pairs = append(pairs, form, redacted)
		}
	}
	return redactor{strings.NewReplacer(pairs...)}
}

// text returns s without the key, and without the query of any address, which
// also makes repeated failures equal.
func (r redactor) text(s string) string {
	s = addressQuery.ReplaceAllString(s, "?"+redacted)
	s = secretParam.ReplaceAllString(s, "$1="+redacted)
	return r.replacer.Replace(s)
}
