package api

import (
	"time"

	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/notifier"
	"github.com/bugle-push/bugle/relay/ablytoken"
)

const (
	exampleDevice = "8f14e45f-ceea-467f-a1d6-2b0f5a0c1e11"
	exampleID     = "4711"
)

// exampleTarget has the form of an FCM registration token and is none.
const exampleTarget = devices.Secret("dEXAMPLEdEXAMPLEdEXAMP:APA91bEXAMPLEEXAMPLEEXAMPLEEXAMPLE")

func exampleTime(hour, minute int) time.Time {
	return time.Date(2026, time.September, 1, hour, minute, 7, 250_000_000, time.UTC)
}

// targetExample is an ActivateTarget whose value is shown: the type devices.Secret
// encodes as a hash.
type targetExample struct {
	Kind  string `json:"kind"`
	Value string `json:"value"`
}

type activateExample struct {
	Platform   string        `json:"platform"`
	Target     targetExample `json:"target"`
	Locale     string        `json:"locale"`
	TimeZone   string        `json:"time_zone"`
	AppVersion string        `json:"app_version"`
}

func activationExample() activateExample {
	return activateExample{
		Platform: "android", Target: targetExample{Kind: "fcm_token", Value: exampleTarget.Reveal()},
		Locale: "en-GB", TimeZone: "Europe/London", AppVersion: "4.2.0",
	}
}

func deviceExample() Device {
	return Device{
		ID: exampleDevice, Platform: "android", Target: DeviceTarget{Kind: "fcm_token", Hash: exampleTarget.String()},
		Generation: 1, State: "active", Locale: "en-GB", TimeZone: "Europe/London", AppVersion: "4.2.0",
		ActivatedAt: exampleTime(13, 55), UpdatedAt: exampleTime(13, 55),
	}
}

func deviceParams() map[string]any { return map[string]any{"id": exampleDevice} }

func activateExamples() []example {
	wrong := activationExample()
	wrong.Target.Value = "short"
	return []example{
		{name: "activated", summary: "The device is active", params: deviceParams(), body: activationExample(), status: 200, answer: deviceExample()},
		{
			name: "wrong_target", summary: "The target cannot be one", params: deviceParams(), body: wrong, status: 400,
			answer: problemExample(400, "the activation is not valid", ProblemField{
				Path: "body.target.value", Message: "wants an FCM registration token: 32 to 4096 characters of A-Z a-z 0-9 _ : -",
			}),
		},
		{
			name: "taken", summary: "The id is another user's, and its target was not shown", params: deviceParams(), body: activationExample(), status: 409,
			answer: problemExample(409, devices.ErrDeviceTaken.Error()),
		},
	}
}

func noDeviceExample() example {
	return example{
		name: "unknown_device", summary: "The user has no such device", params: map[string]any{"id": "another-device"}, status: 404,
		answer: problemExample(404, devices.ErrUnknownDevice.Error()),
	}
}

func deactivateExamples() []example {
	return []example{{name: "deactivated", summary: "Nothing is sent to it any more", params: deviceParams(), status: 204}, noDeviceExample()}
}

func listDevicesExamples() []example {
	return []example{{name: "devices", summary: "One device", status: 200, answer: DeviceList{Devices: []Device{deviceExample()}}}}
}

func getDeviceExamples() []example {
	return []example{{name: "device", summary: "An active device", params: deviceParams(), status: 200, answer: deviceExample()}, noDeviceExample()}
}

func preferencesExample() Preferences {
	return Preferences{Muted: []string{"loss"}, OptedIn: []string{}, Quiet: &QuietHours{From: "22:00", To: "08:00", TimeZone: "Europe/London"}}
}

func getPreferencesExamples() []example {
	return []example{{name: "preferences", summary: "Lost bets are muted, and the nights are quiet", status: 200, answer: preferencesExample()}}
}

func putPreferencesExamples() []example {
	p := preferencesExample()
	wrong := p
	wrong.Quiet = &QuietHours{From: "22:00", To: "22:00"}
	return []example{
		{name: "stored", summary: "Lost bets are muted, and the nights are quiet", body: p, status: 200, answer: p},
		{
			name: "all_day", summary: "Quiet hours end where they begin", body: wrong, status: 400,
			answer: problemExample(400, "the preferences are not valid", ProblemField{
				Path: "body.quiet.to", Message: "wants another time than from; to hear nothing all day, mute the categories",
			}),
		},
		{
			name: "incomplete", summary: "Both lists are needed", body: map[string]any{"muted": []string{"loss"}}, status: 400,
			answer: problemExample(400, "the request does not fit the schema", ProblemField{Path: "body", Message: "expected required property opted_in to be present"}),
		},
	}
}

func ablyTokenExamples() []example {
	return []example{
		{
			name: "token", summary: "A token for an hour", status: 200,
			answer: AblyToken{
				Token: "eyJhbGciOiJIUzI1NiIsImtpZCI6ImFwcC5rZXkifQ.e30.c2ln", KeyName: "app.key",
				Issued: exampleTime(14, 5).UnixMilli(), Expires: exampleTime(15, 5).UnixMilli(), ClientID: "ada",
				Capability: `{"inbound:betting:*:ada":["presence","publish"],"outbound:odds:*":["history","subscribe"],"push:user:ada":["push-subscribe"]}`,
			},
		},
		{
			name: "unsafe_user", summary: "The user's id cannot be part of a channel's name", status: 403,
			answer: problemExample(403, ablytoken.ErrUser.Message),
		},
	}
}

func notificationExamples() []example {
	read := exampleTime(14, 30)
	return []example{
		{
			name: "page", summary: "Two notifications, and more behind them", params: map[string]any{"limit": 2, "locale": "en-GB"}, status: 200,
			answer: NotificationPage{
				Notifications: []Notification{
					{
						ID: exampleID, Seq: 4711, Rule: "bet-settled", Category: "win", Class: string(notifier.Transactional),
						Title: "You won £12.50", Body: "Red Rum came first in The Gold Cup.", Link: "app://bet/b-17",
						Data: map[string]string{"bet": "b-17", "outcome": "WON"}, Thread: "kq0mC1Zb9yPfQ2hXv8LwT3Ra",
						CreatedAt: exampleTime(14, 5), ExpiresAt: exampleTime(14, 5).AddDate(0, 0, 1),
					},
					{
						ID: "4690", Seq: 4690, Rule: "race-soon", Category: "race", Class: string(notifier.Marketing),
						Title: "The Gold Cup in 5 min", Body: "Ascot, 15:05", Link: "app://race/ascot-1505", Thread: "Zx1nB7Qd4uKsE9jYc5MoW2Vi",
						Superseded: true, CreatedAt: exampleTime(14, 0), ExpiresAt: exampleTime(14, 5), ReadAt: &read,
					},
				},
				Next: "4690",
			},
		},
		{
			name: "last_page", summary: "Nothing is left", params: map[string]any{"after": "1"}, status: 200,
			answer: NotificationPage{Notifications: []Notification{}},
		},
		{
			name: "wrong_locale", summary: "The locale is none", params: map[string]any{"locale": "klingon language"}, status: 400,
			answer: problemExample(400, "the request is not valid", ProblemField{Path: "query.locale", Message: "wants a BCP 47 language tag such as en-GB"}),
		},
	}
}

func readOneExamples() []example {
	return []example{
		{name: "read", summary: "It is read", params: map[string]any{"id": exampleID}, status: 204},
		{
			name: "unknown_notification", summary: "The user's inbox has no such notification", params: map[string]any{"id": "1"}, status: 404,
			answer: problemExample(404, notifier.ErrNoSuchItem.Error()),
		},
	}
}

func readAllExamples() []example {
	return []example{
		{name: "read", summary: "All up to it are read", body: ReadRequest{UpTo: exampleID}, status: 204},
		{
			name: "wrong_id", summary: "That is no id", body: ReadRequest{UpTo: "newest"}, status: 400,
			answer: problemExample(400, "the request does not fit the schema", ProblemField{Path: "body.up_to", Message: "expected string to be an id"}),
		},
	}
}
