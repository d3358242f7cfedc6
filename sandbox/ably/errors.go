package ably

import (
	"fmt"
	"net/http"
	"strconv"
)

// Error codes in use. Source: ably-common, errors/codes.
const (
	codeBadRequest       = 40000
	codeBadBody          = 40001
	codeBadParam         = 40003
	codeForeignConn      = 40006
	codeBadCredential    = 40005
	codeTooBig           = 40009
	codeChannelName      = 40010
	codeClientID         = 40012
	codeDataType         = 40013
	codeDeviceID         = 40015
	codeVersion          = 40017
	codeBatchPartial     = 40020
	codeMessageIDs       = 40031
	codeExtras           = 40032
	codeTooMany          = 40034
	codeForcedNack       = 40099
	codeUnauthorized     = 40100
	codeInvalidCreds     = 40101
	codeIncompatible     = 40102
	codeBadTimestamp     = 40104
	codeNonceReused      = 40105
	codeAccountBlocked   = 40112
	codeTokenExpired     = 40142
	codeTokenUnknown     = 40143
	codeBadJWT           = 40144
	codeCapability       = 40160
	codeNotFound         = 40400
	codeMethod           = 40500
	codeRate             = 42910
	codeInboundRate      = 42911
	codeChannelRate      = 42913
	codeChannelBytes     = 42914
	codeMessageRate      = 42917
	codeRequestRate      = 42918
	codeEdgeRate         = 42922
	codePushRate         = 42926
	codeInternal         = 50000
	codeChannelFailed    = 50001
	codeTimeout          = 50003
	codeClientMismatch   = 61002
	codeResumeFailed     = 80008
	codeBadConnectionKey = 80018
	codeTooManyChannels  = 90010
	codeNotPresent       = 91000
	codeTooManyMembers   = 91003
	codePushInternal     = 103000
	codePushRejected     = 103004
	codePushTokenInvalid = 103005
)

// errorInfo is an error as Ably writes it. Source: the type ErrorInfo of the
// client library specification.
type errorInfo struct {
	Message    string `json:"message"`
	Code       int    `json:"code"`
	StatusCode int    `json:"statusCode"`
	Href       string `json:"href"`
}

// errorBody is the body of a failed request.
type errorBody struct {
	Error *errorInfo `json:"error"`
}

// fail makes an error. The HTTP status follows from the code, whose first
// three digits are it, but for the families that are no status.
func fail(code int, format string, args ...any) *errorInfo {
	status := code / 100
	switch {
	case code == codeTooBig:
		status = http.StatusRequestEntityTooLarge
	case code == codeClientMismatch:
		status = http.StatusBadRequest
	case code >= 80000 && code < 100000:
		status = http.StatusBadRequest
	case code == 103001, code == 103007:
		status = http.StatusServiceUnavailable
	case code == codePushInternal:
		status = http.StatusInternalServerError
	case code >= 100000:
		status = http.StatusBadRequest
	}
	return &errorInfo{
		Message: fmt.Sprintf(format, args...), Code: code, StatusCode: status,
		Href: "https://help.ably.io/error/" + strconv.Itoa(code),
	}
}

func notFound(what string) *errorInfo { return fail(codeNotFound, "%s not found", what) }

func denied(op, resource string) *errorInfo {
	return fail(codeCapability, "operation %s not permitted on %s with the provided capability", op, resource)
}
