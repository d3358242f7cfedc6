package ksqldb

import (
	"mime"
	"strconv"
	"strings"
)

// Media types of query answers.
const (
	mediaDelimited = "application/vnd.ksqlapi.delimited.v1"
	mediaKSQL      = "application/vnd.ksql.v1+json"
	mediaProtobuf  = "application/vnd.ksql.v1+protobuf"
	mediaJSON      = "application/json"
)

// acceptable returns the media type the server picks for an Accept header. The
// order is the one in which it offers them, so delimited wins for */*. An empty
// header means no preference and returns "", and a header that matches nothing
// returns false.
func acceptable(headers []string) (string, bool) {
	header := strings.Join(headers, ",")
	if strings.TrimSpace(header) == "" {
		return "", true
	}
	best, bestQ := "", 0.0
	for _, offer := range []string{mediaDelimited, mediaJSON, mediaKSQL, mediaProtobuf} {
		if q := quality(header, offer); q > bestQ {
			best, bestQ = offer, q
		}
	}
	return best, best != ""
}

// quality returns how much an Accept header wants one media type.
func quality(header, offer string) float64 {
	best, bestRank := 0.0, -1
	for part := range strings.SplitSeq(header, ",") {
		media, params, err := mime.ParseMediaType(part)
		if err != nil {
			continue
		}
		rank := -1
		switch media {
		case offer:
			rank = 2
		case "application/*":
			rank = 1
		case "*/*":
			rank = 0
		}
		q := 1.0
		if v, err := strconv.ParseFloat(params["q"], 64); err == nil {
			q = v
		}
		if rank > bestRank {
			best, bestRank = q, rank
		}
	}
	return best
}

// framing is how the rows of an answer are written.
type framing int

const (
	framingDelimited framing = iota // one JSON value a line
	framingArray                    // the same values in one JSON array
	framingKSQL                     // StreamedRow objects in one JSON array
)

func (f framing) contentType() string {
	switch f {
	case framingArray:
		return mediaJSON
	case framingKSQL:
		return mediaKSQL
	}
	return mediaDelimited
}

// chooseFraming maps an Accept header to a framing for one of the two query
// endpoints. Its second result is the status to answer with instead, or zero.
func chooseFraming(accept []string, legacy bool) (framing, int) {
	media, ok := acceptable(accept)
	switch {
	case !ok:
		return 0, 404
	case media == mediaProtobuf:
		return 0, 501
	case media == mediaKSQL, legacy && (media == "" || media == mediaJSON):
		return framingKSQL, 0
	case media == mediaJSON:
		return framingArray, 0
	}
	return framingDelimited, 0
}
