package ablypush_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/notifier/ablypush"
)

type nobody struct{}

func (nobody) RetireTarget(context.Context, devices.Target, time.Time, string) (bool, error) {
	return false, nil
}

// TestConfigFaults: errors name what is wrong and show nothing of a key.
func TestConfigFaults(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		cfg  ablypush.Config
		want string
	}{
		"no key":          {ablypush.Config{}, "key is missing"},
		"blank key":       {ablypush.Config{Key: " \n"}, "key is missing"},
		"no secret":       {ablypush.Config{Key: "app.hunter2"}, "key is not of the form"},
		"empty secret":    {ablypush.Config{Key: "app.hunter2:"}, "key is not of the form"},
		"no dot":          {ablypush.Config{Key: "app:hunter2"}, "key is not of the form"},
		"two lines":       {ablypush.Config{Key: "app.k:hunter2\napp.k2:hunter2"}, "key is not of the form"},
		"timeout":         {ablypush.Config{Key: testKey, Timeout: -1}, "timeout -1ns is negative"},
		"dial timeout":    {ablypush.Config{Key: testKey, DialTimeout: -1}, "dial timeout"},
		"in flight":       {ablypush.Config{Key: testKey, MaxInFlight: -1}, "max in flight -1"},
		"ftp":             {ablypush.Config{Key: testKey, URL: "ftp://hunter2@h"}, "url is not of the form"},
		"no host":         {ablypush.Config{Key: testKey, URL: "localhost:9099"}, "url is not of the form"},
		"password in url": {ablypush.Config{Key: testKey, URL: "http://u:hunter2@h"}, "url is not of the form"},
		"path":            {ablypush.Config{Key: testKey, URL: "http://h/hunter2"}, "url is not of the form"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := ablypush.New(t.Context(), tc.cfg)
			require.Nil(t, s)
			require.ErrorContains(t, err, tc.want)
			require.NotContains(t, err.Error(), "hunter2")
			require.NotContains(t, err.Error(), testSecret)
		})
	}
}

// TestWatcherConfigFaults reports all at once.
func TestWatcherConfigFaults(t *testing.T) {
	t.Parallel()
	_, err := ablypush.NewWatcher(ablypush.WatcherConfig{URL: "ftp://h", Lookback: -1})
	for _, want := range []string{"key is missing", "url is not", "retirer is missing", "lookback"} {
		require.ErrorContains(t, err, want)
	}
	w, err := ablypush.NewWatcher(ablypush.WatcherConfig{Key: testKey, Retirer: nobody{}})
	require.NoError(t, err)
	require.NotNil(t, w)
}
