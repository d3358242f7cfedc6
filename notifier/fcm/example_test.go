package fcm_test

import (
	"context"
	"fmt"
	"time"

	"github.com/rs/zerolog"

	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/notifier"
	"github.com/bugle-push/bugle/notifier/fcm"
	standin "github.com/bugle-push/bugle/sandbox/fcm"
)

// A device uninstalls the app between two notifications.
func ExampleSender_Send() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	google, err := standin.Start(ctx, standin.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer google.Close()
	sender, err := fcm.New(ctx, fcm.Config{
		CredentialsJSON: google.CredentialsJSON(),
		URL:             google.URL(),
		Log:             zerolog.Nop(),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer sender.Close(ctx)

	token := google.MintToken(standin.Android)
	p := notifier.Push{
		Platform: devices.Android,
		Target:   devices.Target{Kind: devices.FCMToken, Value: devices.Secret(token)},
		Message: notifier.Message{
			NotificationID: 1, Thread: "bet-1", Category: "win", Urgency: notifier.High, Class: notifier.Transactional,
			Title: "You won £12.50", Body: "Blue Heron came first.", ExpiresAt: time.Now().Add(time.Hour),
		},
	}
	out := sender.Send(ctx, p)
	fmt.Println(out.Verdict, out.Code)

	google.Unregister(token)
	p.Message.NotificationID = 2
	out = sender.Send(ctx, p)
	fmt.Println(out.Verdict, out.Code)
	fmt.Println(out.Err)
	// Output:
	// sent accepted
	// gone unregistered
	// fcm: unregistered, status 404, NOT_FOUND, UNREGISTERED
}
