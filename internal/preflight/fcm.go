package preflight

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/bugle-push/bugle/notifier/fcm"
)

// Prober asks FCM whether it would take messages from us. fcm.Sender is one.
type Prober interface {
	Probe(ctx context.Context) error
}

// FCM checks that Google takes messages for the project with the credentials.
// credentials is the service account's key as JSON, of which only the project is
// read; credentialsPath is where it is configured.
func FCM(prober Prober, projectID string, credentials []byte, credentialsPath string) Check {
	return Check{Name: "fcm", Do: func(ctx context.Context) []Finding {
		var found []Finding
		var key struct {
			ProjectID string `json:"project_id"`
		}
		_ = json.Unmarshal(credentials, &key) // config and sender have said what is wrong with it
		other := key.ProjectID != "" && key.ProjectID != projectID
		err := prober.Probe(ctx)
		if err != nil {
			found = append(found, fcmTrouble(err, credentialsPath))
		}
		if other {
			const mend = "give the key of a service account of the same project, or correct fcm.project_id"
			f := warningf("fcm.project_id", mend, "is %s, but the credentials belong to the project %s", projectID, key.ProjectID)
			if err != nil {
				f.Severity = Error
			}
			found = append(found, f)
		}
		return found
	}}
}

func fcmTrouble(err error, credentialsPath string) Finding {
	e, ok := errors.AsType[*fcm.Error](err)
	if !ok {
		return errorf("fcm", "check again; if it stays, report it", "Google could not be asked: %s", err)
	}
	switch e.Code {
	case fcm.CodeCredentialsRefused:
		return errorf(credentialsPath, "make a new key: Firebase console, Project settings, Service accounts, Generate new private key. If the key is right, correct this machine's clock",
			"Google's token server refuses the key: %s", e)
	case fcm.CodeUnauthenticated, fcm.CodeTokenStale:
		return errorf(credentialsPath, "make a new key for a service account of this project", "FCM refuses the access token that it was given for the key: %s", e)
	case fcm.CodePermissionDenied:
		return errorf("fcm.project_id", "grant the service account the role Firebase Cloud Messaging API Admin (roles/firebasecloudmessaging.admin) in this project",
			"the service account may not send for this project: %s", e)
	case fcm.CodeServiceDisabled:
		return errorf("fcm.project_id", "enable the Firebase Cloud Messaging API (V1) in the project's settings, Cloud Messaging", "the FCM API is not enabled in the project: %s", e)
	case fcm.CodeNotFound:
		return errorf("fcm.project_id", "correct the project's id (not its name or number), and fcm.url where it is set", "FCM knows no such project: %s", e)
	case fcm.CodeTokenUnavailable:
		return errorf(credentialsPath, "open the way to oauth2.googleapis.com:443 (or the key's token_uri)", "no access token could be fetched: %s", e)
	case fcm.CodeNotSent, fcm.CodeTimeout, fcm.CodeConnectionLost:
		return errorf("fcm.url", "open the way to fcm.googleapis.com:443, or correct fcm.url", "FCM cannot be reached: %s", e)
	case fcm.CodeQuotaExceeded, fcm.CodeUnavailable, fcm.CodeInternal, fcm.CodeBadGateway, fcm.CodeGatewayTimeout:
		return warningf("fcm", "check again in a minute", "FCM is overloaded or in trouble, so that the credentials could not be checked: %s", e)
	}
	return errorf("fcm.url", "correct fcm.url where it is set; else check again", "FCM's answer is not understood: %s", e)
}
