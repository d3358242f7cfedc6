package racing_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/bugle-push/bugle/sandbox/ksqldb"
	"github.com/bugle-push/bugle/sandbox/racing"
)

// bugle is a small service that does everything right unless told otherwise:
// it polls the views every second and pushes at once. It exists to show that
// the oracle finds a run with it clean, and each of its vices not.
type bugle struct {
	oracle *racing.Oracle
	views  []ksqldb.View
	// vice changes what is sent: it gets each push that a perfect service would
	// make or keep back, and returns the pushes to make instead.
	vice func(want bool, p racing.Push) []racing.Push
	// deaf is the vice of not reading Ably's push log.
	deaf bool

	mu      sync.Mutex
	devices map[racing.DeviceID]*registered
	order   []racing.DeviceID
	muted   map[racing.UserID][]string
	dead    map[string]bool
	minted  int
	seq     uint64
	known   map[string]string // rule and key → version
	serial  map[string]int    // key → how many versions
	told    map[string]bool   // key and device
}

type registered struct {
	user   racing.UserID
	kind   string
	token  string
	active bool
	// retired says that the target was found dead.
	retired bool
}

func newBugle(o *racing.Oracle) *bugle {
	return &bugle{
		oracle: o, devices: map[racing.DeviceID]*registered{}, muted: map[racing.UserID][]string{},
		dead: map[string]bool{}, known: map[string]string{}, serial: map[string]int{}, told: map[string]bool{},
	}
}

func (b *bugle) MintToken(platform string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.minted++
	return fmt.Sprintf("token-%s-%d", platform, b.minted)
}

func (b *bugle) Unregister(token string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.dead[token] = true
}

func (b *bugle) MintDevice(_, platform string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.minted++
	return fmt.Sprintf("ABLY-%s-%d", platform, b.minted)
}

func (b *bugle) RemoveDevice(id string) { b.Unregister(id) }

func (b *bugle) KillDevice(id string) error {
	b.Unregister(id)
	return nil
}

func (b *bugle) State(_ context.Context, user racing.UserID, id racing.DeviceID) (string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch r := b.devices[id]; {
	case r == nil || r.user != user:
		return "", fmt.Errorf("device %s is not the user's", id)
	case r.retired:
		return "retired", nil
	case r.active:
		return "active", nil
	}
	return "inactive", nil
}

func (b *bugle) Activate(_ context.Context, user racing.UserID, d racing.Device) error {
	time.Sleep(3 * time.Millisecond)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.devices[d.ID] == nil {
		b.order = append(b.order, d.ID)
	}
	b.devices[d.ID] = &registered{user: user, kind: d.Kind, token: d.Token, active: true}
	return nil
}

func (b *bugle) Deactivate(_ context.Context, _ racing.UserID, id racing.DeviceID) error {
	time.Sleep(3 * time.Millisecond)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.devices[id].active = false
	return nil
}

func (b *bugle) Mute(_ context.Context, user racing.UserID, categories []string) error {
	time.Sleep(3 * time.Millisecond)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.muted[user] = slices.Clone(categories)
	return nil
}

// run polls until ctx ends.
func (b *bugle) run(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			b.poll()
		}
	}
}

func (b *bugle) poll() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, v := range b.views {
		for row := range v.Rows() {
			cols := map[string]any{}
			for i, c := range v.Columns() {
				cols[c.Name] = row.Values[i]
			}
			switch v.Name() {
			case "SETTLED_BETS":
				b.bet(cols)
			case "REJECTED_BETS":
				b.rejected(cols)
			case "UPCOMING_RACES":
				b.race(cols)
			}
		}
	}
}

func (b *bugle) bet(row map[string]any) {
	id, user := row["BET_ID"].(string), racing.UserID(row["USER_ID"].(string))
	outcome, payout := row["OUTCOME"].(string), row["PAYOUT"].(string)
	if b.known["bet"+id] == outcome+payout {
		return
	}
	b.known["bet"+id] = outcome + payout
	category := racing.CategoryWin
	if outcome == "LOST" {
		category = racing.CategoryLoss
	}
	data := map[string]string{"link": "app://bet/" + id, "outcome": outcome, "class": "transactional"}
	b.push("bet"+id, category, data, func(r *registered, told bool) bool {
		return r.user == user && (told || !slices.Contains(b.muted[user], category))
	})
}

func (b *bugle) rejected(row map[string]any) {
	id, user, reason := row["BET_ID"].(string), racing.UserID(row["USER_ID"].(string)), row["REASON"].(string)
	if b.known["bet"+id] != "" {
		return
	}
	b.known["bet"+id] = reason
	data := map[string]string{"link": "app://bet/" + id, "reason": reason, "class": "transactional"}
	b.push("bet"+id, racing.CategoryBet, data, func(r *registered, _ bool) bool {
		return r.user == user && !slices.Contains(b.muted[user], racing.CategoryBet)
	})
}

func (b *bugle) race(row map[string]any) {
	id, status, starts := row["EVENT_ID"].(string), row["STATUS"].(string), row["STARTS_AT"].(time.Time)
	version := status + starts.String()
	if status == "OFF" || status == "SCHEDULED" && !starts.After(time.Now()) || b.known["race"+id] == version {
		return
	}
	b.known["race"+id] = version
	data := map[string]string{"link": "app://race/" + id, "class": "service"}
	if status == "SCHEDULED" {
		data["class"] = "marketing"
	}
	b.push("race"+id, racing.CategoryRace, data, func(r *registered, told bool) bool {
		if status != "SCHEDULED" {
			return told
		}
		return !slices.Contains(b.muted[r.user], racing.CategoryRace)
	})
}

func (b *bugle) push(thread, category string, data map[string]string, wants func(r *registered, told bool) bool) {
	b.serial[thread]++
	nid := fmt.Sprintf("%s-%d", thread, b.serial[thread])
	data["category"] = category
	for _, id := range b.order {
		r := b.devices[id]
		key := thread + string(id)
		ably := r.kind == racing.KindAbly
		want := r.active && !r.retired && (ably || !b.dead[r.token]) && wants(r, b.told[key])
		p := racing.Push{
			Provider: "fcm", Token: r.token, NID: nid, Tag: thread, CollapseID: thread,
			Title: nid, Data: data, Attempt: 1,
		}
		if ably {
			p.Provider = "ably"
			if b.dead[r.token] { // Ably accepts it, and says afterwards what became of it
				p.Code = 103005
				r.retired = r.retired || want && !b.deaf
			}
		}
		pushes := []racing.Push{}
		if want {
			b.told[key] = true
			pushes = append(pushes, p)
		}
		if b.vice != nil {
			pushes = b.vice(want, p)
		}
		for _, p := range pushes {
			b.accept(p)
		}
	}
}

func (b *bugle) accept(p racing.Push) {
	b.seq++
	p.Seq, p.At = b.seq, time.Now()
	b.oracle.Accepted(p)
}
