package ably_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"strings"

	sdk "github.com/ably/ably-go/ably"

	"github.com/bugle-push/bugle/sandbox/ably"
)

// A push is published over HTTP, and its failure read with the unmodified
// ably-go from the push log.
func Example() {
	ctx := context.Background()
	srv, err := ably.Start(ctx, ably.Config{Seed: 1})
	if err != nil {
		log.Panic(err)
	}
	defer srv.Close()
	publish := func(device string) {
		body := fmt.Sprintf(`{"recipient":{"deviceId":%q},"notification":{"title":"You won"},"data":{"nid":"01JD"}}`, device)
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, srv.URL()+"/push/publish", strings.NewReader(body))
		if err != nil {
			log.Panic(err)
		}
		req.Header.Set("Authorization", basic(srv.Key()))
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			log.Panic(err)
		}
		res.Body.Close()
		fmt.Println("published:", res.StatusCode)
	}

	phone := srv.MintDevice("user-1", ably.Android)
	publish(phone)
	fmt.Println("the phone shows:", srv.Accepted()[0].Title)

	if err := srv.KillDevice(phone); err != nil { // the user removes the app
		log.Panic(err)
	}
	publish(phone)

	client, err := sdk.NewREST(sdk.WithKey(srv.Key()), sdk.WithEndpoint(srv.Host()), sdk.WithPort(srv.Port()),
		sdk.WithTLS(false), sdk.WithInsecureAllowBasicAuthWithoutTLS())
	if err != nil {
		log.Panic(err)
	}
	events, err := client.Channels.Get(ably.PushLog).History().Items(ctx)
	if err != nil {
		log.Panic(err)
	}
	for events.Next(ctx) {
		data, _ := events.Item().Data.(map[string]any)
		failure, _ := data["error"].(map[string]any)
		fmt.Println("failed:", failure["code"], data["deviceId"] == phone)
	}
	http.DefaultClient.CloseIdleConnections()

	// Output:
	// published: 204
	// the phone shows: You won
	// published: 204
	// failed: 103005 true
}
