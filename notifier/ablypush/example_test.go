package ablypush_test

import (
	"context"
	"fmt"
	"time"

	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/notifier"
	"github.com/bugle-push/bugle/notifier/ablypush"
	"github.com/bugle-push/bugle/sandbox/ably"
)

// A push to a device that is registered with Ably, and one to a device that is
// not any more.
func ExampleSender_Send() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	service, err := ably.Start(ctx, ably.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = service.Close() }()
	sender, err := ablypush.New(ctx, ablypush.Config{Key: devices.Secret(service.Key()), URL: service.URL()})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = sender.Close(ctx) }()

	device := service.MintDevice("punter-77", ably.Android)
	p := notifier.Push{
		Target: devices.Target{Kind: devices.AblyDevice, Value: devices.Secret(device)},
		Message: notifier.Message{
			NotificationID: 4711, Thread: "b1ByRx3kQ0a", Category: "win",
			Title: "You won £12.50", Body: "Blue Heron came first in Kempton 15:05.",
			ExpiresAt: time.Now().Add(time.Hour),
		},
	}
	out := sender.Send(ctx, p)
	fmt.Println(out.Verdict, out.Code)

	service.RemoveDevice(device)
	out = sender.Send(ctx, p)
	fmt.Println(out.Verdict, out.Code, out.Status)
	// Output:
	// sent accepted
	// gone device_not_found 404
}
