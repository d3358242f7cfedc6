package fcm_test

import (
	"context"
	"fmt"
	"log"

	firebase "firebase.google.com/go/v4"
	"firebase.google.com/go/v4/messaging"
	"google.golang.org/api/option"

	"github.com/bugle-push/bugle/sandbox/fcm"
)

// The unmodified Firebase Admin SDK sends to the stand-in, over a socket and
// with its own OAuth flow.
func Example() {
	ctx := context.Background()
	srv, err := fcm.Start(ctx, fcm.Config{Seed: 1})
	if err != nil {
		log.Panic(err)
	}
	defer func() { _ = srv.Close() }()

	app, err := firebase.NewApp(ctx, &firebase.Config{ProjectID: srv.ProjectID()},
		option.WithEndpoint(srv.URL()),
		option.WithAuthCredentialsJSON(option.ServiceAccount, srv.CredentialsJSON()))
	if err != nil {
		log.Panic(err)
	}
	client, err := app.Messaging(ctx)
	if err != nil {
		log.Panic(err)
	}

	phone := srv.MintToken(fcm.Android)
	_, err = client.Send(ctx, &messaging.Message{
		Token:        phone,
		Notification: &messaging.Notification{Title: "You won"},
		Data:         map[string]string{"nid": "01JD"},
	})
	fmt.Println("sent:", err == nil)
	fmt.Println("accepted:", srv.Accepted()[0].Title)

	srv.Unregister(phone) // the user removes the app
	_, err = client.Send(ctx, &messaging.Message{Token: phone})
	fmt.Println("gone:", messaging.IsUnregistered(err))

	// Output:
	// sent: true
	// accepted: You won
	// gone: true
}

// A lost answer: the message is accepted, the SDK sees a broken connection and
// sends again by itself. The stand-in knows that the repeat is excused.
func ExampleServer_Inject() {
	ctx := context.Background()
	srv, err := fcm.Start(ctx, fcm.Config{NoAuth: true})
	if err != nil {
		log.Panic(err)
	}
	defer func() { _ = srv.Close() }()
	app, err := firebase.NewApp(ctx, &firebase.Config{ProjectID: srv.ProjectID()},
		option.WithEndpoint(srv.URL()), option.WithoutAuthentication())
	if err != nil {
		log.Panic(err)
	}
	client, err := app.Messaging(ctx)
	if err != nil {
		log.Panic(err)
	}

	if err := srv.Inject(fcm.FaultRule{Kind: fcm.ResetAfterAccept}); err != nil {
		log.Panic(err)
	}
	_, err = client.Send(ctx, &messaging.Message{
		Token: srv.MintToken(fcm.IOS),
		Data:  map[string]string{"nid": "01JD"},
	})
	fmt.Println("sent:", err == nil)
	for _, rep := range srv.Repeats() {
		fmt.Println(rep.NID, "accepted", len(rep.Records), "times, excused:", rep.Excused)
	}
	// Output:
	// sent: true
	// 01JD accepted 2 times, excused: true
}
