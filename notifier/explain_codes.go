package notifier

// CodeWords says in plain words what a provider's code means that ended a delivery
// or an attempt; empty for a code that is not known here. The senders' codes are
// closed sets, and a test holds this one to them.
func CodeWords(code string) string { return codeWords()[code] }

func codeWords() map[string]string {
	return map[string]string{
		// Nothing arrived, and it is tried again.
		"not_sent":              "no connection to the provider could be used in time",
		"token_unavailable":     "no access token could be fetched",
		"token_stale":           "the access token had run out",
		"quota_exceeded":        "the provider took no more for the moment",
		"rate_limited":          "the provider took no more for the moment",
		"unconfirmed_not_found": "the provider did not find the target, and it could not be found out whether it is dead",

		// It may have arrived.
		"timeout":           "no answer came in time",
		"connection_lost":   "the connection broke before the answer",
		"internal":          "the provider failed",
		"bad_gateway":       "the provider failed",
		"unavailable":       "the provider was overloaded",
		"gateway_timeout":   "the provider did not answer in time",
		"server_error":      "the provider failed",
		"unexpected_answer": "the provider's answer makes no sense",
		"no_verdict":        "nobody knows what came of it",

		// The target is dead.
		"unregistered":                    "the app has been removed, or its push token replaced",
		"invalid_token":                   "the push token is none of the provider's",
		"apns_unregistered":               "the app has been removed from the iPhone or iPad",
		"apns_bad_device_token":           "Apple does not know the push token",
		"apns_device_token_not_for_topic": "the push token belongs to another app",
		"device_not_found":                "Ably does not know the device",
		"registration_expired":            "the device's registration at Ably has run out",
		"ably_token_invalid":              "Ably's push log says that the push token is dead",

		// The message is refused.
		"expired":            "it expired before the provider could be asked",
		"reserved_data_key":  "the rule uses a key of data that is reserved",
		"payload_too_large":  "the message is too large",
		"invalid_message":    "the message breaks a rule of the provider",
		"unsupported_target": "the provider does not reach targets of this kind",
		"invalid_argument":   "the provider dislikes something in the message",
		"bad_request":        "the provider could not read the request",
		"sender_id_mismatch": "the push token belongs to another project than the credentials",
		"invalid_device_id":  "the id of the device is none of Ably's",
		"client_not_found":   "the user has no device at Ably",

		// Something is wrong with what the operator has set up at the provider.
		"credentials_refused":    "our credentials are refused",
		"unauthenticated":        "our credentials are refused",
		"permission_denied":      "our account may not send",
		"service_disabled":       "sending is not enabled in our project",
		"third_party_auth_error": "the provider's credentials for Apple or the browser's push service are refused",
		"account_blocked":        "our account is blocked, or has used up what was paid for",
		"not_found":              "there is no such project or application",

		"accepted": "the provider took it",
	}
}

// inWords is a code for people, with what it means where that is known.
func inWords(code string) string {
	if words := CodeWords(code); words != "" {
		return code + ": " + words
	}
	return code
}
