package fcm

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// FCM error codes, as in an FcmError detail. Source: Google, "ErrorCode" of
// the FCM HTTP v1 reference.
const (
	codeUnregistered     = "UNREGISTERED"
	codeInvalidArgument  = "INVALID_ARGUMENT"
	codeSenderIDMismatch = "SENDER_ID_MISMATCH"
	codeThirdPartyAuth   = "THIRD_PARTY_AUTH_ERROR"
	codeQuotaExceeded    = "QUOTA_EXCEEDED"
	codeUnavailable      = "UNAVAILABLE"
	codeInternal         = "INTERNAL"
)

// Types of error details.
const (
	typeFCMError     = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
	typeAPNsError    = "type.googleapis.com/google.firebase.fcm.v1.ApnsError"
	typeBadRequest   = "type.googleapis.com/google.rpc.BadRequest"
	typeQuotaFailure = "type.googleapis.com/google.rpc.QuotaFailure"
	typeErrorInfo    = "type.googleapis.com/google.rpc.ErrorInfo"
	typeHelp         = "type.googleapis.com/google.rpc.Help"
)

type (
	fcmErrorDetail struct {
		Type      string `json:"@type"`
		ErrorCode string `json:"errorCode"`
	}
	apnsErrorDetail struct {
		Type       string `json:"@type"`
		StatusCode int    `json:"statusCode"`
		Reason     string `json:"reason"`
	}
	badRequestDetail struct {
		Type            string      `json:"@type"`
		FieldViolations []violation `json:"fieldViolations,omitempty"`
	}
	violation struct {
		Field       string `json:"field,omitempty"`
		Description string `json:"description"`
	}
	quotaFailureDetail struct {
		Type       string           `json:"@type"`
		Violations []quotaViolation `json:"violations"`
	}
	quotaViolation struct {
		Subject     string `json:"subject"`
		Description string `json:"description"`
	}
	errorInfoDetail struct {
		Type     string            `json:"@type"`
		Reason   string            `json:"reason"`
		Domain   string            `json:"domain"`
		Metadata map[string]string `json:"metadata"`
	}
	helpDetail struct {
		Type  string     `json:"@type"`
		Links []helpLink `json:"links"`
	}
	helpLink struct {
		Description string `json:"description"`
		URL         string `json:"url"`
	}
	errorBody struct {
		Error errorStatus `json:"error"`
	}
	errorStatus struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
		Status  string `json:"status"`
		Details []any  `json:"details,omitempty"`
	}
)

func fcmError(code string) any { return fcmErrorDetail{typeFCMError, code} }

func badRequest(v ...violation) any { return badRequestDetail{typeBadRequest, v} }

// answer is one HTTP answer, made before it is known how it is to be printed.
type answer struct {
	outcome    string // the key in Stats.Outcomes
	status     int
	body       any    // printed as JSON
	html       bool   // Google's error page instead of body
	challenge  string // WWW-Authenticate
	retryAfter time.Duration
	closing    bool // end the connection afterwards
}

// errorAnswer builds a JSON error. The canonical status follows from the HTTP
// status, as everywhere in Google's APIs.
func errorAnswer(outcome string, status int, message string, details ...any) *answer {
	return &answer{outcome: outcome, status: status, body: errorBody{errorStatus{
		Code: status, Message: message, Status: canonical(status), Details: details,
	}}}
}

func htmlAnswer(outcome string, status int) *answer {
	return &answer{outcome: outcome, status: status, html: true}
}

// canonical names the gRPC code that stands in error.status.
func canonical(status int) string {
	switch status {
	case http.StatusBadRequest:
		return "INVALID_ARGUMENT"
	case http.StatusUnauthorized:
		return "UNAUTHENTICATED"
	case http.StatusForbidden:
		return "PERMISSION_DENIED"
	case http.StatusNotFound:
		return "NOT_FOUND"
	case http.StatusTooManyRequests:
		return "RESOURCE_EXHAUSTED"
	case http.StatusServiceUnavailable:
		return "UNAVAILABLE"
	}
	return "INTERNAL"
}

// after returns a copy of the answer with a Retry-After header, none for 0.
func (a answer) after(d time.Duration) *answer {
	a.retryAfter = d
	return &a
}

// write sends the answer and reports what the connection said to it.
func (a *answer) write(w http.ResponseWriter, r *http.Request) error {
	h := w.Header()
	h.Set("Server", "fcm-stand-in")
	h.Set("Cache-Control", "private")
	h.Set("X-Content-Type-Options", "nosniff")
	h["Vary"] = []string{"Origin", "X-Origin", "Referer"}
	if a.retryAfter > 0 {
		h.Set("Retry-After", strconv.FormatInt(int64(a.retryAfter/time.Second), 10))
	}
	if a.challenge != "" {
		h.Set("WWW-Authenticate", a.challenge)
	}
	if a.closing {
		h.Set("Connection", "close")
	}
	var body []byte
	if a.html {
		h.Set("Content-Type", "text/html; charset=UTF-8")
		body = htmlPage(a.status)
	} else {
		h.Set("Content-Type", "application/json; charset=UTF-8")
		body = encode(a.body, r.URL.Query().Get("prettyPrint") != "false")
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(a.status)
	if _, err := w.Write(body); err != nil {
		return fmt.Errorf("write answer: %w", err)
	}
	if err := http.NewResponseController(w).Flush(); err != nil {
		return fmt.Errorf("flush answer: %w", err)
	}
	return nil
}

// encode prints JSON the way the API front end does: indented by two spaces
// and ended by a newline, unless the client asked for the compact form.
func encode(v any, pretty bool) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if pretty {
		enc.SetIndent("", "  ")
	}
	// Every body is one of this file's structs or a map of strings.
	_ = enc.Encode(v)
	return b.Bytes()
}

// htmlPage imitates the page that stands in for an answer when Google's edge
// speaks instead of the service.
func htmlPage(status int) []byte {
	title, text := "Server Error", "The server encountered an error and could not complete your request.<p>If the problem persists, please report your problem and mention this error message and the query that caused it."
	switch status {
	case http.StatusNotFound:
		title, text = "Not Found", "The requested URL was not found on this server."
	case http.StatusBadGateway:
		text = "The server encountered a temporary error and could not complete your request.<p>Please try again in 30 seconds."
	case http.StatusGatewayTimeout:
		title, text = "Gateway Timeout", "The server encountered a temporary error and could not complete your request.<p>Please try again in 30 seconds."
	}
	return fmt.Appendf(nil, `<!DOCTYPE html>
<html lang=en>
  <meta charset=utf-8>
  <title>Error %d (%s)!!1</title>
  <p><b>%d.</b> <ins>That's an error.</ins>
  <p>%s  <ins>That's all we know.</ins>
</html>
`, status, title, status, text)
}

// frontEnd is how the API front end refuses JSON that does not fit the
// schema: a BadRequest, and never an FcmError.
func frontEnd(v ...violation) *answer {
	var msg bytes.Buffer
	for i, one := range v {
		if i > 0 {
			msg.WriteByte('\n')
		}
		msg.WriteString(one.Description)
	}
	return errorAnswer("front_end", http.StatusBadRequest, msg.String(), badRequest(v...))
}

// invalid is how the service itself refuses a field.
func invalid(field, message string) *answer {
	return errorAnswer("invalid_argument", http.StatusBadRequest, message,
		badRequest(violation{field, message}), fcmError(codeInvalidArgument))
}

func unregistered(extra ...any) *answer {
	return errorAnswer("unregistered", http.StatusNotFound, "Requested entity was not found.",
		append([]any{fcmError(codeUnregistered)}, extra...)...)
}

func invalidToken() *answer {
	const msg = "The registration token is not a valid FCM registration token"
	return errorAnswer("invalid_argument", http.StatusBadRequest, msg,
		fcmError(codeInvalidArgument), badRequest(violation{"message.token", msg}))
}

func tooLarge() *answer {
	return errorAnswer("invalid_argument", http.StatusBadRequest,
		fmt.Sprintf("Message is too large. The maximum is 4K (%d bytes).", MaxPayload),
		badRequest(), fcmError(codeInvalidArgument))
}

func invalidCondition() *answer {
	return errorAnswer("invalid_argument", http.StatusBadRequest, "Request contains an invalid argument.")
}

func senderIDMismatch() *answer {
	return errorAnswer("sender_id_mismatch", http.StatusForbidden, "SenderId mismatch", fcmError(codeSenderIDMismatch))
}

func thirdPartyAuth(extra ...any) *answer {
	return errorAnswer("third_party_auth_error", http.StatusUnauthorized, "Auth error from APNS or Web Push Service",
		append([]any{fcmError(codeThirdPartyAuth)}, extra...)...)
}

func apnsError(status int, reason string) any {
	return apnsErrorDetail{typeAPNsError, status, reason}
}

func badAPNs(message string, status int, reason string) *answer {
	return errorAnswer("invalid_argument", http.StatusBadRequest, message,
		fcmError(codeInvalidArgument), apnsError(status, reason))
}

func overProjectQuota(projectNumber string) *answer {
	msg := "Quota exceeded for quota metric 'Send requests' and limit 'Send requests per minute' of service " +
		"'fcm.googleapis.com' for consumer 'project_number:" + projectNumber + "'."
	return errorAnswer("quota_project", http.StatusTooManyRequests, msg,
		errorInfoDetail{typeErrorInfo, "RATE_LIMIT_EXCEEDED", "googleapis.com", map[string]string{
			"consumer":             "projects/" + projectNumber,
			"quota_limit":          "SendsPerMinutePerProject",
			"quota_location":       "global",
			"quota_metric":         "fcm.googleapis.com/send_requests",
			"service":              "fcm.googleapis.com",
			"quota_unit":           "1/min/{project}",
			"quota_limit_exceeded": "true",
		}},
		helpDetail{typeHelp, []helpLink{{
			"Request a higher quota limit.",
			"https://cloud.google.com/docs/quotas/help/request_increase",
		}}})
}

func overQuota(outcome, subject, description string) *answer {
	return errorAnswer(outcome, http.StatusTooManyRequests, description, fcmError(codeQuotaExceeded),
		quotaFailureDetail{typeQuotaFailure, []quotaViolation{{subject, description}}})
}

const missingCredentialText = "Request is missing required authentication credential. Expected OAuth 2 access token, login cookie or other valid authentication credential. See https://developers.google.com/identity/sign-in/web/devconsole-project."

func missingCredential() *answer {
	a := errorAnswer("unauthenticated", http.StatusUnauthorized,
		missingCredentialText,
		serviceInfo("CREDENTIALS_MISSING"))
	a.challenge = `Bearer realm="https://accounts.google.com/"`
	return a
}

func badCredential() *answer {
	a := errorAnswer("unauthenticated", http.StatusUnauthorized,
		"Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid authentication credential. See https://developers.google.com/identity/sign-in/web/devconsole-project.",
		serviceInfo("ACCESS_TOKEN_EXPIRED"))
	a.challenge = `Bearer realm="https://accounts.google.com/", error="invalid_token"`
	return a
}

func insufficientScope() *answer {
	a := errorAnswer("permission_denied", http.StatusForbidden,
		"Request had insufficient authentication scopes.", serviceInfo("ACCESS_TOKEN_SCOPE_INSUFFICIENT"))
	a.challenge = `Bearer realm="https://accounts.google.com/", error="insufficient_scope", scope="https://www.googleapis.com/auth/firebase.messaging https://www.googleapis.com/auth/cloud-platform"`
	return a
}

func serviceInfo(reason string) any {
	return errorInfoDetail{typeErrorInfo, reason, "googleapis.com", map[string]string{
		"method":  "google.firebase.fcm.v1.FcmService.SendMessage",
		"service": "fcm.googleapis.com",
	}}
}

func permissionDenied(project string) *answer {
	const permission = "cloudmessaging.messages.create"
	resource := "//cloudresourcemanager.googleapis.com/projects/" + project
	return errorAnswer("permission_denied", http.StatusForbidden,
		"Permission '"+permission+"' denied on resource '"+resource+"' (or it may not exist).",
		errorInfoDetail{typeErrorInfo, "IAM_PERMISSION_DENIED", "cloudresourcemanager.googleapis.com", map[string]string{
			"permission": permission, "resource": "projects/" + project,
		}})
}

func serviceDisabled(projectNumber string) *answer {
	url := "https://console.developers.google.com/apis/api/fcm.googleapis.com/overview?project=" + projectNumber
	return errorAnswer("permission_denied", http.StatusForbidden,
		"Firebase Cloud Messaging API has not been used in project "+projectNumber+" before or it is disabled. Enable it by visiting "+url+" then retry. If you enabled this API recently, wait a few minutes for the action to propagate to our systems and retry.",
		helpDetail{typeHelp, []helpLink{{"Google developers console API activation", url}}},
		errorInfoDetail{typeErrorInfo, "SERVICE_DISABLED", "googleapis.com", map[string]string{
			"consumer": "projects/" + projectNumber, "service": "fcm.googleapis.com",
		}})
}

// faultAnswer is the answer of a fault that has one, and nil for the rest.
func faultAnswer(k Kind, projectNumber string) *answer {
	var a *answer
	switch k {
	case QuotaFCM:
		a = overQuota("", "device", "Quota exceeded.")
	case QuotaProject:
		a = overProjectQuota(projectNumber)
	case QuotaBare:
		a = errorAnswer("", http.StatusTooManyRequests, "Resource has been exhausted (e.g. check quota).")
	case Unavailable, UnavailableAfterAccept:
		a = errorAnswer("", http.StatusServiceUnavailable, "The service is currently unavailable.", fcmError(codeUnavailable))
	case UnavailableBare:
		a = errorAnswer("", http.StatusServiceUnavailable, "The service is currently unavailable.")
	case Internal:
		a = errorAnswer("", http.StatusInternalServerError, "Internal error encountered.", fcmError(codeInternal))
	case InternalHTML:
		a = htmlAnswer("", http.StatusInternalServerError)
	case BadGatewayHTML:
		a = htmlAnswer("", http.StatusBadGateway)
	case GatewayTimeoutHTML:
		a = htmlAnswer("", http.StatusGatewayTimeout)
	case ThirdPartyAuth:
		a = thirdPartyAuth()
	case ThirdPartyAuthMisleading:
		a = errorAnswer("", http.StatusUnauthorized, missingCredentialText, fcmError(codeThirdPartyAuth))
	case PermissionDenied:
		a = permissionDenied(projectNumber)
	case ServiceDisabled:
		a = serviceDisabled(projectNumber)
	default:
		return nil
	}
	a.outcome = string(k)
	return a
}
