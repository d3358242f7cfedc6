package ablyfeed

import (
	"net/http"

	"github.com/bugle-push/bugle/relay"
)

// Codes that are told apart (Ably, "Error codes").
const (
	codeCredential      = 40005 // cannot be read, though it came with a 400
	codeTooLarge        = 40009
	codeCapability      = 40160 // to 40165
	codeCapabilityEnd   = 40165
	codeChannelRate     = 42913
	codeChannelBytes    = 42914
	codeChannelCreation = 90021
)

// verdict tells what an answer means, from its status and Ably's code; 0 is none.
func verdict(status, code int) relay.Verdict {
	family := code / 100
	switch {
	case code == codeChannelRate || code == codeChannelBytes || code == codeChannelCreation:
		return relay.ChannelLimited
	case family == 429 || status == http.StatusTooManyRequests:
		return relay.AccountLimited // 42910, 42917, 42918, 42922 and those to come
	case status >= http.StatusInternalServerError || code/1000 == 50 || code/1000 == 80 || code/1000 == 90:
		return relay.Unknown
	case status >= http.StatusOK && status < http.StatusMultipleChoices:
		return relay.Accepted
	case code >= codeCapability && code <= codeCapabilityEnd:
		return relay.Denied
	case family == 401 || code == codeCredential || status == http.StatusUnauthorized:
		return relay.Blocked // keys, tokens, and accounts that are blocked (40110 to 40115, sent with 403)
	case code == codeTooLarge || status == http.StatusRequestEntityTooLarge:
		return relay.Refused
	case family == 400 || status == http.StatusBadRequest && code == 0:
		return relay.Refused
	default:
		// 403, 404, redirects and whatever else is not about one message: it shows
		// when others are taken.
		return relay.Denied
	}
}
