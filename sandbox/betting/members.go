package betting

import (
	"context"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// members ends the sessions that kfake forgets: it starts no session for a
// member whose connection ended while it waited to join, and keeps its partitions
// for ever. A real broker starts every member's session when a rebalance is
// complete, and so does this.
type members struct {
	kafka  *kfake.Cluster
	client *kgo.Client

	mu     sync.Mutex
	groups map[string]map[string]*member // by group and member id
}

// member is what is known of a consumer group's member.
type member struct {
	session time.Duration // how long it may keep quiet
	// since is the later of when it was last heard of and when its group was first
	// seen stable after that: while a group rebalances, its members wait.
	since  time.Time
	stable bool
}

// hear notes who asks something. It is a control function that handles nothing.
func (m *members) hear(r kmsg.Request) (kmsg.Response, error, bool) {
	switch r := r.(type) {
	case *kmsg.JoinGroupRequest:
		m.heard(r.Group, r.MemberID, time.Duration(r.SessionTimeoutMillis)*time.Millisecond)
	case *kmsg.SyncGroupRequest:
		m.heard(r.Group, r.MemberID, 0)
	case *kmsg.HeartbeatRequest:
		m.heard(r.Group, r.MemberID, 0)
	case *kmsg.OffsetCommitRequest:
		m.heard(r.Group, r.MemberID, 0)
	}
	return nil, nil, false
}

// heard notes a member; session is 0 where the request does not say.
func (m *members) heard(group, id string, session time.Duration) {
	if id == "" {
		return // it has not been given one
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	known := m.groups[group][id]
	if known == nil {
		if session == 0 {
			return
		}
		known = &member{}
		if m.groups[group] == nil {
			m.groups[group] = map[string]*member{}
		}
		m.groups[group][id] = known
	}
	if session != 0 {
		known.session = session
	}
	known.since, known.stable = time.Now(), false
}

// run ends sessions until ctx does.
func (m *members) run(ctx context.Context) {
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		m.mu.Lock()
		names := make([]string, 0, len(m.groups))
		for name := range m.groups {
			names = append(names, name)
		}
		m.mu.Unlock()
		for _, name := range names {
			for _, id := range m.silent(name) {
				m.end(ctx, name, id)
			}
		}
	}
}

// silent returns the members of a stable group whose session has ended, and
// forgets those that have left it.
func (m *members) silent(group string) (out []string) {
	info := m.kafka.GroupInfo(group)
	m.mu.Lock()
	defer m.mu.Unlock()
	if info == nil {
		delete(m.groups, group)
		return nil
	}
	if info.State != "Stable" {
		for _, known := range m.groups[group] {
			known.stable = false
		}
		return nil
	}
	present, now := map[string]bool{}, time.Now()
	for _, listed := range info.Members {
		present[listed.MemberID] = true
		switch known := m.groups[group][listed.MemberID]; {
		case known == nil:
		case !known.stable:
			known.stable, known.since = true, now
		case now.Sub(known.since) > known.session:
			out = append(out, listed.MemberID)
		}
	}
	for id, known := range m.groups[group] {
		if !present[id] && now.Sub(known.since) > known.session {
			delete(m.groups[group], id)
		}
	}
	return out
}

// end lets a member leave its group. What fails is tried at the next tick.
func (m *members) end(ctx context.Context, group, id string) {
	leave := kmsg.NewPtrLeaveGroupRequest()
	leave.Group = group
	one := kmsg.NewLeaveGroupRequestMember()
	one.MemberID = id
	leave.Members = append(leave.Members, one)
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	_, _ = m.client.Request(ctx, leave)
}
