package fcm

import (
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// rules is what the service knows about a well-formed message. It does not
// change after newRules.
type rules struct {
	schema   *messageType
	duration *regexp.Regexp
	topic    *regexp.Regexp
	color    *regexp.Regexp
	label    *regexp.Regexp
	pushSlug *regexp.Regexp // Topic header of RFC 8030
	digits   *regexp.Regexp
}

func newRules() *rules {
	return &rules{
		schema:   newSchema(),
		duration: regexp.MustCompile(`^(-?[0-9]{1,12})(?:\.([0-9]{1,9}))?s$`),
		topic:    regexp.MustCompile(`^[a-zA-Z0-9\-_.~%]{1,900}$`),
		color:    regexp.MustCompile(`^#[0-9a-fA-F]{6}$`),
		label:    regexp.MustCompile(`^[a-zA-Z0-9\-_.~%]{1,50}$`),
		pushSlug: regexp.MustCompile(`^[A-Za-z0-9_-]{1,32}$`),
		digits:   regexp.MustCompile(`^[0-9]{1,18}$`),
	}
}

// check holds a decoded message against the rules of the service. platform is
// that of the target, empty for topics and unknown targets: only the parts a
// platform would be sent are checked for it, all of them if it is unknown.
func (r *rules) check(msg fields, platform string) *answer {
	if a := r.checkTarget(msg); a != nil {
		return a
	}
	for _, e := range [][]entry{msg.entries("data"), androidOf(msg).entries("data")} {
		if a := checkKeys(e); a != nil {
			return a
		}
	}
	if a := r.checkLabels(msg); a != nil {
		return a
	}
	if msg.has("android_v2") && msg.has("android") {
		// Mutually exclusive by the reference; the wording is not confirmed.
		return invalid("message", "Only one of android and android_v2 may be set.")
	}
	if a := r.checkAndroid(androidOf(msg)); a != nil {
		return a
	}
	if a := r.checkAPNs(msg); a != nil {
		return a
	}
	if a := r.checkWebpush(msg.sub("webpush")); a != nil {
		return a
	}
	return checkSize(msg, platform)
}

// androidOf returns the part for Android: android, or android_v2 in the same
// form.
func androidOf(msg fields) fields {
	if !msg.has("android_v2") {
		return msg.sub("android")
	}
	out := maps.Clone(msg.sub("android_v2"))
	if n, ok := out.sub("remote_notification")["notification"]; ok {
		out["notification"] = n
	}
	return out
}

func (r *rules) checkTarget(msg fields) *answer {
	switch {
	case msg.str("token") != "", msg.str("fid") != "":
		return nil // looked up elsewhere
	case msg.str("topic") != "":
		if !r.topic.MatchString(msg.str("topic")) {
			return invalid("message", "Topic name contains invalid characters.")
		}
	case msg.str("condition") != "":
		if !r.validCondition(msg.str("condition")) {
			return invalidCondition()
		}
	default:
		return invalid("message", "Recipient of the message is not set.")
	}
	return nil
}

// checkKeys refuses reserved data keys. The discovery document reserves "from",
// "message_type" and the prefixes "google." and "gcm.notification."; the page
// on errors says "from", "gcm" and anything that starts with "google". The
// wider reading holds here, so that a message that passes is safe.
func checkKeys(data []entry) *answer {
	for _, e := range data {
		if e.key == "from" || e.key == "message_type" || strings.HasPrefix(e.key, "google") || strings.HasPrefix(e.key, "gcm") {
			return invalid("message.data", "Invalid data payload key: "+e.key)
		}
	}
	return nil
}

// checkLabels holds each analytics_label against its documented pattern.
func (r *rules) checkLabels(msg fields) *answer {
	for _, part := range []string{"", "android", "android_v2", "apns", "webpush"} {
		f, path := msg, "message"
		if part != "" {
			f, path = msg.sub(part), "message."+part
		}
		opts := f.sub("fcm_options")
		if opts.str("analytics_label") != "" && !r.label.MatchString(opts.str("analytics_label")) {
			return invalid(path+".fcm_options.analytics_label", "Invalid analytics label.")
		}
	}
	return nil
}

func (r *rules) checkAndroid(android fields) *answer {
	const at = "message.android"
	if ttl, ok := android["ttl"].(time.Duration); ok && (ttl < 0 || ttl.Truncate(time.Second) > MaxTTL) {
		// The wording is not confirmed against the live service.
		return invalid(at+".ttl", "TTL must be a non-negative duration of at most 2419200 seconds.")
	}
	n := android.sub("notification")
	if c := n.str("color"); c != "" && !r.color.MatchString(c) {
		return invalid(at+".notification.color", "Invalid color: must be in the form #RRGGBB.")
	}
	for _, part := range []string{"body", "title"} {
		if args, _ := n[part+"_loc_args"].([]any); len(args) > 0 && n.str(part+"_loc_key") == "" {
			return invalid(at+".notification."+part+"_loc_args", part+"_loc_key is required when specifying "+part+"_loc_args.")
		}
	}
	timings, _ := n["vibrate_timings"].([]any)
	for _, t := range timings {
		if t.(time.Duration) < 0 { // the decoder lets nothing else in
			return invalid(at+".notification.vibrate_timings", "Vibrate timings must not be negative.")
		}
	}
	return checkLight(n, at+".notification.light_settings")
}

// checkLight holds light settings against "Required" in their reference.
func checkLight(n fields, at string) *answer {
	if !n.has("light_settings") {
		return nil
	}
	light := n.sub("light_settings")
	if !light.has("color") || !light.has("light_on_duration") || !light.has("light_off_duration") {
		return invalid(at, "Light settings must have color, light_on_duration and light_off_duration.")
	}
	for _, name := range []string{"light_on_duration", "light_off_duration"} {
		if light[name].(time.Duration) < 0 {
			return invalid(at+"."+name, "Light durations must not be negative.")
		}
	}
	for _, name := range []string{"red", "green", "blue", "alpha"} {
		if v, ok := light.sub("color")[name].(float64); ok && !(v >= 0 && v <= 1) {
			return invalid(at+".color", "Color components must be between 0 and 1.")
		}
	}
	return nil
}

// headers returns a header map with lower-case names: both APNs and Web Push
// carry them over HTTP.
func headers(f fields) map[string]string {
	out := map[string]string{}
	for _, e := range f.entries("headers") {
		out[strings.ToLower(e.key)] = e.value
	}
	return out
}

// checkAPNs refuses what APNs refuses. Reasons: Apple, "Handling notification
// responses from APNs".
func (r *rules) checkAPNs(msg fields) *answer {
	apns := msg.sub("apns")
	h := headers(apns)
	const text = "Request contains an invalid argument."
	if len(h["apns-collapse-id"]) > 64 {
		return badAPNs(text, 400, "BadCollapseId")
	}
	pushType := h["apns-push-type"]
	switch pushType {
	case "", "alert", "background", "location", "voip", "complication", "fileprovider", "mdm", "liveactivity", "pushtotalk", "widgets", "controls":
	default:
		return badAPNs(text, 400, "InvalidPushType")
	}
	priority, given := h["apns-priority"]
	if given && priority != "1" && priority != "5" && priority != "10" {
		return badAPNs(text, 400, "BadPriority")
	}
	// Priority 10 is an error for what shows nothing on the device.
	if priority == "10" && (pushType == "background" || pushType == "" && silent(msg)) {
		return badAPNs(text, 400, "BadPriority")
	}
	if exp, ok := h["apns-expiration"]; ok && !r.digits.MatchString(exp) {
		return badAPNs(text, 400, "BadExpirationDate")
	}
	return nil
}

// silent reports whether an iOS device would show nothing: content-available
// without alert, sound or badge.
func silent(msg fields) bool {
	if msg.has("notification") {
		return false
	}
	payload, _ := msg.sub("apns")["payload"].(object)
	aps, _ := plain(payload.get("aps")).(map[string]any)
	for _, name := range []string{"alert", "sound", "badge"} {
		if aps[name] != nil {
			return false
		}
	}
	return aps["content-available"] != nil
}

// get returns the last value of a name, as most JSON readers do.
func (o object) get(name string) any {
	for _, m := range slices.Backward(o) {
		if m.name == name {
			return m.value
		}
	}
	return nil
}

func (r *rules) checkWebpush(web fields) *answer {
	const at = "message.webpush.headers."
	h := headers(web)
	if ttl, ok := h["ttl"]; ok {
		if n, err := strconv.Atoi(ttl); err != nil || n < 0 || !r.digits.MatchString(ttl) {
			return invalid(at+"TTL", "TTL must be a non-negative integer.")
		}
	}
	// The wordings below are not confirmed against the live service; the
	// limits are those of RFC 8030, sections 5.3 and 5.4.
	if u, ok := h["urgency"]; ok && u != "very-low" && u != "low" && u != "normal" && u != "high" {
		return invalid(at+"Urgency", "Urgency must be very-low, low, normal or high.")
	}
	if t, ok := h["topic"]; ok && !r.pushSlug.MatchString(t) {
		return invalid(at+"Topic", "Topic must be at most 32 characters of the URL-safe base64 alphabet.")
	}
	if link := web.sub("fcm_options").str("link"); link != "" && !strings.HasPrefix(link, "https://") {
		return invalid("message.webpush.fcm_options.link", "Link must be an HTTPS URL.")
	}
	return nil
}

// checkSize refuses payloads over 4096 bytes of keys and values. The live
// service was seen to pass somewhat more; the documented limit holds here.
func checkSize(msg fields, platform string) *answer {
	common := size(msg.entries("data"))
	note := textSize(msg.sub("notification"))
	for _, p := range []string{Android, IOS, Web} {
		if platform != "" && platform != p {
			continue
		}
		n := common + note
		switch p {
		case Android:
			a := androidOf(msg)
			if a.has("data") {
				n += size(a.entries("data")) - common // it replaces the message's
			}
			n += overlay(a.sub("notification"), msg.sub("notification"))
		case IOS:
			n += structSize(msg.sub("apns"), "payload")
		case Web:
			w := msg.sub("webpush")
			if w.has("data") {
				n += size(w.entries("data")) - common
			}
			n += structSize(w, "notification")
		}
		if n > MaxPayload {
			return tooLarge()
		}
	}
	return nil
}

func size(data []entry) (n int) {
	for _, e := range data {
		n += len(e.key) + len(e.value)
	}
	return n
}

// textSize counts the texts of a notification and their names.
func textSize(n fields) (size int) {
	for name, v := range n {
		if s, ok := v.(string); ok {
			size += len(name) + len(s)
		}
		args, _ := v.([]any)
		for _, a := range args {
			if s, ok := a.(string); ok {
				size += len(s)
			}
		}
	}
	return size
}

// overlay is what a platform's notification adds to the common one, whose
// texts of the same name it replaces.
func overlay(platform, common fields) int {
	n := textSize(platform)
	for _, name := range []string{"title", "body", "image"} {
		if platform.has(name) && common.has(name) {
			n -= len(name) + len(common.str(name))
		}
	}
	return n
}

func structSize(f fields, name string) int {
	obj, ok := f[name].(object)
	if !ok || len(obj) == 0 {
		return 0
	}
	return len(literal(obj))
}

// validCondition parses a condition: topics in quotes joined by && and ||, with
// ! and parentheses, at most five topics. Source: Google, "Send messages to
// topics". How much white space the live service forgives is not documented;
// any is forgiven here.
func (r *rules) validCondition(text string) bool {
	p := &conditionParser{text: text, rules: r}
	return utf8.ValidString(text) && p.expr(0) && p.peek() == "" && p.topics <= 5
}

type conditionParser struct {
	text   string
	rules  *rules
	topics int
}

// peek skips white space and returns what is left.
func (p *conditionParser) peek() string {
	p.text = strings.TrimLeft(p.text, " \t\r\n")
	return p.text
}

func (p *conditionParser) take(token string) bool {
	if !strings.HasPrefix(p.peek(), token) {
		return false
	}
	p.text = p.text[len(token):]
	return true
}

func (p *conditionParser) expr(depth int) bool {
	if depth > 20 || !p.term(depth) {
		return false
	}
	for p.take("&&") || p.take("||") {
		if !p.term(depth) {
			return false
		}
	}
	return true
}

func (p *conditionParser) term(depth int) bool {
	for p.take("!") {
	}
	if p.take("(") {
		return p.expr(depth+1) && p.take(")")
	}
	if !p.take("'") {
		return false
	}
	topic, rest, ok := strings.Cut(p.text, "'")
	if !ok || !p.rules.topic.MatchString(topic) {
		return false
	}
	p.text = rest
	p.topics++
	return p.take("in") && p.take("topics")
}
