package fcm

import (
	"slices"
	"strings"
	"unicode"
)

// fieldKind is how the front end reads a field.
type fieldKind int

const (
	kindString fieldKind = iota
	kindBool
	kindInt32
	kindFloat
	kindEnum
	kindDuration
	kindTimestamp
	kindMessage
	kindStruct    // google.protobuf.Struct: any object
	kindStringMap // map<string, string>
)

// field is one field of a message type.
type field struct {
	name     string // snake_case, the name in the proto file
	kind     fieldKind
	repeated bool
	oneof    string       // name of the oneof it belongs to, if any
	typ      *messageType // of kindMessage
	enum     string       // type name of kindEnum
	values   []string     // of kindEnum, in order of their numbers
}

// messageType is one message of the schema.
type messageType struct {
	name   string            // full proto name
	fields map[string]*field // by both spellings
}

const fcmPackage = "google.firebase.fcm.v1."

// newSchema builds the request's schema. It follows the discovery document
// (revision 20261023).
func newSchema() *messageType {
	str := func(names ...string) []*field { return fieldsOf(kindString, names) }
	enum := func(name, typ string, values ...string) []*field {
		return []*field{{name: name, kind: kindEnum, enum: fcmPackage + typ, values: values}}
	}
	sub := func(name string, typ *messageType) []*field {
		return []*field{{name: name, kind: kindMessage, typ: typ}}
	}
	color := message("google.type.Color", fieldsOf(kindFloat, []string{"red", "green", "blue", "alpha"}))
	light := message(fcmPackage+"LightSettings", sub("color", color),
		fieldsOf(kindDuration, []string{"light_on_duration", "light_off_duration"}))
	notification := [][]*field{
		str("title", "body", "icon", "color", "sound", "tag", "click_action", "body_loc_key", "title_loc_key",
			"channel_id", "image", "ticker"),
		{
			{name: "body_loc_args", kind: kindString, repeated: true},
			{name: "title_loc_args", kind: kindString, repeated: true},
			{name: "vibrate_timings", kind: kindDuration, repeated: true},
			{name: "notification_count", kind: kindInt32},
			{name: "event_time", kind: kindTimestamp},
		},
		fieldsOf(kindBool, []string{"sticky", "local_only", "default_sound", "default_vibrate_timings", "default_light_settings"}),
		enum("notification_priority", "AndroidNotification.NotificationPriority", "PRIORITY_UNSPECIFIED",
			"PRIORITY_MIN", "PRIORITY_LOW", "PRIORITY_DEFAULT", "PRIORITY_HIGH", "PRIORITY_MAX"),
		enum("visibility", "AndroidNotification.Visibility", "VISIBILITY_UNSPECIFIED", "PRIVATE", "PUBLIC", "SECRET"),
		sub("light_settings", light),
	}
	androidNotification := message(fcmPackage+"AndroidNotification", slices.Concat(notification, [][]*field{
		enum("proxy", "AndroidNotification.Proxy", "PROXY_UNSPECIFIED", "ALLOW", "DENY", "IF_PRIORITY_LOWERED"),
		fieldsOf(kindBool, []string{"bypass_proxy_notification"}),
	})...)
	androidNotificationV2 := message(fcmPackage+"AndroidNotificationV2", slices.Concat(notification, [][]*field{
		{{name: "id", kind: kindInt32}},
	})...)
	label := str("analytics_label")
	common := [][]*field{
		str("collapse_key", "restricted_package_name"),
		{{name: "ttl", kind: kindDuration}, {name: "data", kind: kindStringMap}},
		fieldsOf(kindBool, []string{"direct_boot_ok", "bandwidth_constrained_ok", "restricted_satellite_ok"}),
		sub("fcm_options", message(fcmPackage+"AndroidFcmOptions", label)),
	}
	android := message(fcmPackage+"AndroidConfig", slices.Concat(common, [][]*field{
		enum("priority", "AndroidMessagePriority", "NORMAL", "HIGH"),
		sub("notification", androidNotification),
	})...)
	androidV2 := message(fcmPackage+"AndroidConfigV2", slices.Concat(common, [][]*field{
		sub("background_sync", message(fcmPackage+"AndroidBackgroundSyncMessage")),
		sub("remote_notification", message(fcmPackage+"AndroidRemoteNotification",
			fieldsOf(kindBool, []string{"mutable_content", "use_as_v1_data_message"}),
			sub("notification", androidNotificationV2))),
	})...)
	apns := message(fcmPackage+"ApnsConfig",
		[]*field{{name: "headers", kind: kindStringMap}, {name: "payload", kind: kindStruct}},
		str("live_activity_token"),
		sub("fcm_options", message(fcmPackage+"ApnsFcmOptions", str("analytics_label", "image"))))
	webpush := message(fcmPackage+"WebpushConfig",
		[]*field{
			{name: "headers", kind: kindStringMap},
			{name: "data", kind: kindStringMap},
			{name: "notification", kind: kindStruct},
		},
		sub("fcm_options", message(fcmPackage+"WebpushFcmOptions", str("link", "analytics_label"))))
	target := str("token", "topic", "condition", "fid")
	for _, f := range target {
		f.oneof = "target"
	}
	msg := message(fcmPackage+"Message", str("name"), target,
		[]*field{{name: "data", kind: kindStringMap}},
		sub("notification", message(fcmPackage+"Notification", str("title", "body", "image"))),
		sub("android", android), sub("android_v2", androidV2), sub("apns", apns), sub("webpush", webpush),
		sub("fcm_options", message(fcmPackage+"FcmOptions", label)))
	return message(fcmPackage+"SendMessageRequest", fieldsOf(kindBool, []string{"validate_only"}), sub("message", msg))
}

func fieldsOf(kind fieldKind, names []string) []*field {
	out := make([]*field, len(names))
	for i, n := range names {
		out[i] = &field{name: n, kind: kind}
	}
	return out
}

func message(name string, groups ...[]*field) *messageType {
	m := &messageType{name: name, fields: map[string]*field{}}
	for _, g := range groups {
		for _, f := range g {
			m.fields[f.name] = f
			m.fields[camel(f.name)] = f
		}
	}
	return m
}

// camel is the lowerCamel spelling that proto3 JSON prefers.
func camel(snake string) string {
	var b strings.Builder
	up := false
	for _, c := range snake {
		if c == '_' {
			up = true
			continue
		}
		if up {
			c = unicode.ToUpper(c)
		}
		up = false
		b.WriteRune(c)
	}
	return b.String()
}
