package devices_test

import (
	"fmt"
	"strings"
	"time"

	"github.com/bugle-push/bugle/devices"
)

// A phone is sold: its new owner's app shows the same registration token, and
// so takes the device over.
func ExampleActivate() {
	now := time.Date(2026, 9, 1, 14, 30, 0, 0, time.UTC)
	said := devices.Activation{
		Platform: devices.Android,
		Target:   devices.Target{Kind: devices.FCMToken, Value: devices.Secret(strings.Repeat("token", 8))},
	}
	first, err := devices.Activate(now, "ada", "phone-1", said, nil, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	second, err := devices.Activate(now.Add(time.Hour), "bob", "phone-1", said, &first.Device, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(second.Device.User, second.Device.Generation, second.Cancel)

	said.Target.Value = devices.Secret(strings.Repeat("guess", 8))
	_, err = devices.Activate(now.Add(2*time.Hour), "eve", "phone-1", said, &second.Device, nil)
	fmt.Println(err)
	// Output:
	// bob 2 user_changed
	// the device id belongs to another user: show the device's current target, or choose a new id
}
