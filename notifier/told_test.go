package notifier_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestACorrectionIsForTheUserWhoWasTold(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.device("a1", "ann")
		w.mute("bob", "race")
		rules := strings.Replace(rulesYAML, `notification: {category: race, title: "soon {{.event_id}}", body: "soon"}`,
			`notification: {category: race, title: "soon {{.event_id}}", body: "soon"}
    correction: {title: "moved {{.event_id}}", body: "moved"}`, 1)
		require.NotEqual(t, rulesYAML, rules)
		go func() {
			time.Sleep(2 * time.Second)
			w.race("e1", 3*time.Minute)
			time.Sleep(3 * time.Second)
			w.exec(`UPDATE devices SET user_id = 'bob', generation = 2, activated_at = $1 WHERE id = 'a1'`, time.Now().UnixMicro())
			time.Sleep(3 * time.Second)
			w.race("e1", 4*time.Minute)
		}()
		w.runWith(rules, "replica-1", 20*time.Second)
		require.Equal(t, []string{"soon e1→tok-a1"}, w.accepted(), "bob has muted races, and was never told of this one")
	})
}
