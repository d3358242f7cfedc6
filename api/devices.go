package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/bugle-push/bugle/devices"
)

// Registry keeps the devices. Its errors carry a fault.Kind; a device that is
// not the user's answers devices.ErrUnknownDevice, like one that does not exist.
type Registry interface {
	// Activate makes the device active for the user, and returns it as stored.
	Activate(ctx context.Context, user devices.UserID, id devices.ID, a devices.Activation) (devices.Device, error)
	// Deactivate stops everything to the device; doing it again changes nothing.
	Deactivate(ctx context.Context, user devices.UserID, id devices.ID) error
	// Device returns one of the user's devices.
	Device(ctx context.Context, user devices.UserID, id devices.ID) (devices.Device, error)
	// Devices returns the user's devices, the latest updated first.
	Devices(ctx context.Context, user devices.UserID) ([]devices.Device, error)
}

// Device is a device as its user sees it. It never holds the target's value.
type Device struct {
	ID            string       `json:"id" example:"8f14e45f-ceea-467f-a1d6-2b0f5a0c1e11"`
	Platform      string       `json:"platform" enum:"android,ios,web"`
	Target        DeviceTarget `json:"target"`
	Generation    int64        `json:"generation" doc:"Grows whenever the target or the user changes and when the device is revived."`
	State         string       `json:"state" enum:"active,inactive,retired" doc:"Retired: the provider declared the target dead; activate again with a new one."`
	Locale        string       `json:"locale" example:"en-GB"`
	TimeZone      string       `json:"time_zone" example:"Europe/London"`
	AppVersion    string       `json:"app_version" example:"4.2.0"`
	ActivatedAt   time.Time    `json:"activated_at"`
	UpdatedAt     time.Time    `json:"updated_at"`
	RetiredReason string       `json:"retired_reason,omitempty" doc:"The provider's reason; only when retired."`
}

// DeviceTarget names a target without telling it.
type DeviceTarget struct {
	Kind string `json:"kind" enum:"fcm_token,fcm_fid,ably_device,ably_client"`
	Hash string `json:"hash" doc:"A short hash of the value, to compare with." example:"sha256:9f86d081884c"`
}

// DeviceList is every device of a user.
type DeviceList struct {
	Devices []Device `json:"devices" nullable:"false"`
}

// ActivateRequest is the body of an activation.
type ActivateRequest struct {
	Platform   string         `json:"platform" enum:"android,ios,web"`
	Target     ActivateTarget `json:"target"`
	Locale     string         `json:"locale,omitempty" maxLength:"35" doc:"BCP 47; empty means the default texts." example:"en-GB"`
	TimeZone   string         `json:"time_zone,omitempty" maxLength:"64" doc:"IANA; empty means UTC." example:"Europe/London"`
	AppVersion string         `json:"app_version,omitempty" maxLength:"64" example:"4.2.0"`
}

// ActivateTarget is where the device is reached.
type ActivateTarget struct {
	Kind  string         `json:"kind" enum:"fcm_token,fcm_fid,ably_device,ably_client"`
	Value devices.Secret `json:"value" minLength:"1" maxLength:"4096" doc:"The registration token, installation id, Ably device id or, for ably_client, the user's own client id."`
}

type deviceInput struct {
	ID string `path:"id" maxLength:"128" doc:"One of the user's devices." example:"8f14e45f-ceea-467f-a1d6-2b0f5a0c1e11"`
}

type activateInput struct {
	ID   string `path:"id" maxLength:"128" doc:"Chosen by the app, once per installation: A-Z a-z 0-9 . _ : -" example:"8f14e45f-ceea-467f-a1d6-2b0f5a0c1e11"`
	Body ActivateRequest
}

type deviceOutput struct{ Body Device }

type devicesOutput struct{ Body DeviceList }

func (s *server) registerDevices(api huma.API) {
	tags := []string{"devices"}
	handle(s, api, huma.Operation{
		OperationID: "activate-device", Method: http.MethodPost, Path: "/v1/devices/{id}/activate", Tags: tags,
		Summary:     "Activate a device",
		Description: "Call it at each start of the app and whenever the target changes; saying the same again changes nothing. An id that belongs to another user answers 409 unless the device's current target is shown.",
	}, s.activateDevice, activateExamples()...)
	handle(s, api, huma.Operation{
		OperationID: "deactivate-device", Method: http.MethodPost, Path: "/v1/devices/{id}/deactivate", Tags: tags,
		Summary:       "Deactivate a device",
		Description:   "Nothing is sent to the device any more, and what was queued is cancelled. Doing it again changes nothing.",
		DefaultStatus: http.StatusNoContent,
	}, s.deactivateDevice, deactivateExamples()...)
	handle(s, api, huma.Operation{
		OperationID: "list-devices", Method: http.MethodGet, Path: "/v1/devices", Tags: tags,
		Summary: "List the user's devices",
	}, s.listDevices, listDevicesExamples()...)
	handle(s, api, huma.Operation{
		OperationID: "get-device", Method: http.MethodGet, Path: "/v1/devices/{id}", Tags: tags,
		Summary: "Get one of the user's devices",
	}, s.getDevice, getDeviceExamples()...)
}

func (s *server) activateDevice(ctx context.Context, in *activateInput) (*deviceOutput, error) {
	id, err := deviceID(in.ID)
	if err != nil {
		return nil, err
	}
	d, err := s.registry.Activate(ctx, userOf(ctx), id, in.Body.activation())
	if err != nil {
		return nil, within("body", err)
	}
	return &deviceOutput{Body: deviceOf(d)}, nil
}

func (s *server) deactivateDevice(ctx context.Context, in *deviceInput) (*struct{}, error) {
	id, err := deviceID(in.ID)
	if err != nil {
		return nil, err
	}
	return nil, s.registry.Deactivate(ctx, userOf(ctx), id)
}

func (s *server) listDevices(ctx context.Context, _ *struct{}) (*devicesOutput, error) {
	found, err := s.registry.Devices(ctx, userOf(ctx))
	if err != nil {
		return nil, err
	}
	out := &devicesOutput{Body: DeviceList{Devices: make([]Device, 0, len(found))}}
	for _, d := range found {
		out.Body.Devices = append(out.Body.Devices, deviceOf(d))
	}
	return out, nil
}

func (s *server) getDevice(ctx context.Context, in *deviceInput) (*deviceOutput, error) {
	id, err := deviceID(in.ID)
	if err != nil {
		return nil, err
	}
	d, err := s.registry.Device(ctx, userOf(ctx), id)
	if err != nil {
		return nil, err
	}
	return &deviceOutput{Body: deviceOf(d)}, nil
}

func deviceID(s string) (devices.ID, error) {
	id := devices.ID(s)
	return id, within("path", id.Validate())
}

func (b ActivateRequest) activation() devices.Activation {
	return devices.Activation{
		Platform: devices.Platform(b.Platform),
		Target:   devices.Target{Kind: devices.TargetKind(b.Target.Kind), Value: b.Target.Value},
		Locale:   b.Locale, TimeZone: b.TimeZone, AppVersion: b.AppVersion,
	}
}

func deviceOf(d devices.Device) Device {
	return Device{
		ID: string(d.ID), Platform: string(d.Platform),
		Target:     DeviceTarget{Kind: string(d.Target.Kind), Hash: d.Target.Value.String()},
		Generation: d.Generation, State: string(d.State),
		Locale: d.Locale, TimeZone: d.TimeZone, AppVersion: d.AppVersion,
		ActivatedAt: d.ActivatedAt, UpdatedAt: d.UpdatedAt, RetiredReason: d.RetiredReason,
	}
}
