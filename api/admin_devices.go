package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/bugle-push/bugle/devices"
)

// AdminDevice is a device as operators see it: never the target's value.
type AdminDevice struct {
	Device
	User string `json:"user" example:"ann"`
}

// AdminDeviceList is every device of a user.
type AdminDeviceList struct {
	Devices []AdminDevice `json:"devices" nullable:"false"`
}

// AdminTest is what a test push says.
type AdminTest struct {
	Title string `json:"title" minLength:"1" maxLength:"200" example:"Test"`
	Body  string `json:"body" minLength:"1" maxLength:"1000" example:"Can you see this?"`
}

// AdminTestResult is a provider's answer to a test push.
type AdminTestResult struct {
	Device     string `json:"device"`
	Provider   string `json:"provider" example:"fcm"`
	Generation int64  `json:"generation" doc:"Of the target that was sent to."`
	Verdict    string `json:"verdict" enum:"sent,retry,gone,rejected,blocked,unknown" doc:"Sent: the provider took it. Whether the phone shows it, only the phone knows."`
	Code       string `json:"code" doc:"The provider's reason; empty when sent."`
	Status     int    `json:"status" doc:"The HTTP status; 0 when there was none."`
	ProviderID string `json:"provider_id" doc:"The provider's name for the message."`
	TookMillis int64  `json:"took_ms"`
}

// AdminDeactivate says why a device is deactivated.
type AdminDeactivate struct {
	Reason string `json:"reason,omitempty" maxLength:"500" doc:"For the audit, where it stays: the number of a request, not a text about the user." example:"request 4711"`
}

type (
	adminDeviceInput struct {
		ID string `path:"id" maxLength:"128" doc:"The device's id."`
	}
	adminDevicesInput struct {
		User string `query:"user" required:"true" minLength:"1" maxLength:"128" doc:"Whose devices."`
	}
	testInput struct {
		ID   string `path:"id" maxLength:"128" doc:"The device's id."`
		Body AdminTest
	}
	deactivateInput struct {
		ID   string `path:"id" maxLength:"128" doc:"The device's id."`
		Body AdminDeactivate
	}
	adminDeviceOutput  struct{ Body AdminDevice }
	adminDevicesOutput struct{ Body AdminDeviceList }
	testOutput         struct{ Body AdminTestResult }
)

func (a *adminServer) registerAdminDevices(api huma.API) {
	tags := []string{"devices"}
	handle(a.server, api, huma.Operation{
		OperationID: "list-user-devices", Method: http.MethodGet, Path: "/admin/v1/devices", Tags: tags,
		Summary: "List a user's devices",
	}, a.listUserDevices)
	handle(a.server, api, huma.Operation{
		OperationID: "get-any-device", Method: http.MethodGet, Path: "/admin/v1/devices/{id}", Tags: tags,
		Summary: "Get a device",
	}, a.getAnyDevice)
	handle(a.server, api, huma.Operation{
		OperationID: "deactivate-any-device", Method: http.MethodPost, Path: "/admin/v1/devices/{id}/deactivate", Tags: tags,
		Summary: "Take a device out of use until its app activates it again",
		Description: "As its user would: nothing more is sent to it, and what is queued for it is cancelled; what is being sent is not called back. " +
			"The next activation by its app makes it active again, which an app in use may do at its next start: to keep a user from being told, suppress the user. " +
			"A device that is not active stays as it is, and that is not in the audit.",
	}, a.deactivateAnyDevice)
	handle(a.server, api, lasting(huma.Operation{
		OperationID: "test-device", Method: http.MethodPost, Path: "/admin/v1/devices/{id}/test", Tags: tags,
		Summary:     "Send a test push to one device",
		Description: "Sends now, outside of rules and ledger, and answers what the provider said, whatever that is. 409 unless the device is active.",
	}, testSendTimeout), a.testDevice)
}

func (a *adminServer) listUserDevices(ctx context.Context, in *adminDevicesInput) (*adminDevicesOutput, error) {
	found, err := a.Devices.Devices(ctx, devices.UserID(in.User))
	if err != nil {
		return nil, err
	}
	out := &adminDevicesOutput{Body: AdminDeviceList{Devices: make([]AdminDevice, 0, len(found))}}
	for _, d := range found {
		out.Body.Devices = append(out.Body.Devices, adminDeviceOf(d))
	}
	return out, nil
}

func (a *adminServer) getAnyDevice(ctx context.Context, in *adminDeviceInput) (*adminDeviceOutput, error) {
	id, err := deviceID(in.ID)
	if err != nil {
		return nil, err
	}
	d, err := a.Devices.Find(ctx, id)
	if err != nil {
		return nil, err
	}
	return &adminDeviceOutput{Body: adminDeviceOf(d)}, nil
}

func (a *adminServer) deactivateAnyDevice(ctx context.Context, in *deactivateInput) (*adminDeviceOutput, error) {
	id, err := deviceID(in.ID)
	if err != nil {
		return nil, err
	}
	d, err := a.DeviceControl.DeactivateBy(ctx, devices.Operator(actorOf(ctx)), id, in.Body.Reason)
	if err != nil {
		return nil, err
	}
	return &adminDeviceOutput{Body: adminDeviceOf(d)}, nil
}

func (a *adminServer) testDevice(ctx context.Context, in *testInput) (*testOutput, error) {
	id, err := deviceID(in.ID)
	if err != nil {
		return nil, err
	}
	r, err := a.TestSend.TestSend(ctx, actorOf(ctx), id, in.Body.Title, in.Body.Body)
	if err != nil {
		return nil, err
	}
	return &testOutput{Body: AdminTestResult{
		Device: string(r.Device), Provider: string(r.Provider), Generation: r.Generation, Verdict: string(r.Verdict),
		Code: r.Code, Status: r.Status, ProviderID: r.ProviderID, TookMillis: r.Took.Milliseconds(),
	}}, nil
}

func adminDeviceOf(d devices.Device) AdminDevice {
	return AdminDevice{Device: deviceOf(d), User: string(d.User)}
}
