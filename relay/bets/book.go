package bets

import (
	"context"
	"time"
)

// Retention is how long the row of a message is kept, counted from its arrival. A
// webhook that is shown again within that changes nothing; what is older than
// MaxAge is refused anyway.
const Retention = 24 * time.Hour

// MaxAge is how old an item of a webhook may be. Ably discards what it could not
// deliver for five minutes, so that nothing honest is as old.
const MaxAge = time.Hour

// maxAhead is how far in the future an item may be by our clock.
const maxAhead = 10 * time.Minute

// PresenceLife is how long a member counts as present without a word of it: Ably
// tells of a member who leaves, within 15 s of a lost connection, so that this
// bounds only what a lost webhook leaves behind. It is longer than MaxAge, so that
// a leave is remembered as long as an older enter may still arrive.
const PresenceLife = 2 * time.Hour

// Kind is what a row is on its way to become.
type Kind string

// The kinds.
const (
	// KindBet is a bet, for the topic of bets.
	KindBet Kind = "bet"
	// KindDead is a dead letter, for the topic of those.
	KindDead Kind = "dead"
)

// Kinds lists both.
func Kinds() []Kind { return []Kind{KindBet, KindDead} }

// Row is a message as it is kept: a bet or a dead letter.
type Row struct {
	// MessageID is Ably's, or a digest of what has none.
	MessageID string
	// Channel is where it was published; empty where that cannot be read.
	Channel string
	Kind    Kind
	// Reason is why a dead letter is no bet.
	Reason Reason
	// Value is the record's value: a Bet as JSON, or the data of the message as it came, at
	// most MaxData bytes of it.
	Value []byte
	// Size is how many bytes the data of the message has.
	Size int
	// Authenticated is that of the bet.
	Authenticated bool
}

// Sighting is what one presence message says about a member.
type Sighting struct {
	Channel, ClientID, ConnectionID string
	// Page is the place in the app; empty when the member has not said.
	Page string
	// Here is false when the member has left.
	Here bool
	// At is when Ably took the message; Serial orders those of one moment.
	At     time.Time
	Serial int64
}

// Taken is what became of the rows of one request.
type Taken struct {
	// New are the rows that had not been there; of those only MessageID, Channel, Kind and
	// Reason are told. A bet may have become a dead letter with ReasonID.
	New []Row
	// Duplicates counts the others.
	Duplicates int
}

// Book keeps what webhooks bring.
type Book interface {
	// Take keeps rows and sightings in one transaction. Rows are ordered as they are given; one
	// whose message id and channel are there already changes nothing. Of a member the newest
	// sighting counts, in whichever order they come. An error leaves open whether it was kept:
	// taking it again is right.
	Take(ctx context.Context, rows []Row, sightings []Sighting) (Taken, error)
}

// Claimed is a row that a replica may produce until its lease ends.
type Claimed struct {
	Row
	// Seq orders the rows by arrival.
	Seq int64
	// No is the number of the claim, which fences its result.
	No int64
	// ReceivedAt is when the row was committed, by the database's clock.
	ReceivedAt time.Time
	// Waited is how long ago that was when it was claimed.
	Waited time.Duration
}

// ClaimRequest asks for rows of one kind.
type ClaimRequest struct {
	Kind  Kind
	Owner string
	Limit int
	Lease time.Duration
}

// Backlog is how much waits to be produced.
type Backlog struct {
	// Rows counts them, up to BacklogCounted.
	Rows int
	// Oldest is how long the first of them has waited; 0 when there is none.
	Oldest time.Duration
}

// BacklogCounted is where counting a backlog stops.
const BacklogCounted = 100_000

// Outbox is what the Forwarder takes rows from.
type Outbox interface {
	// Waiting tells whether any row of the kind may be claimed or is claimed by somebody. It is
	// cheap, and asked all the time.
	Waiting(ctx context.Context, kind Kind) (bool, error)
	// Claim leases the rows of a kind that have waited longest, in the order of their arrival. A
	// channel of which another claim is open is passed over, so that its messages keep their
	// order. Rows whose lease has ended are claimed again.
	Claim(ctx context.Context, r ClaimRequest) ([]Claimed, error)
	// Renew makes the leases of an owner last from now on.
	Renew(ctx context.Context, kind Kind, owner string, lease time.Duration) error
	// Produced notes that these have been produced, which ends their claim. Lost counts those
	// that somebody else has claimed meanwhile.
	Produced(ctx context.Context, claims []Claimed) (lost int, err error)
	// Release gives claims back.
	Release(ctx context.Context, claims []Claimed) error
	// Bury turns claims on bets into dead letters with a reason.
	Bury(ctx context.Context, claims []Claimed, reason Reason) error
	// Backlog tells how much waits.
	Backlog(ctx context.Context, kind Kind) (Backlog, error)
}

// Removed counts the rows that one step has removed.
type Removed struct {
	Bets, Presence int
	// More says that the step was full: there may be more to remove.
	More bool
}

// Remover removes what has been kept long enough.
type Remover interface {
	// Remove removes at most limit rows of each kind in one short transaction: messages that
	// were produced and came longer than keep ago, and members that have expired. Rows that
	// somebody else holds are passed over.
	Remove(ctx context.Context, keep time.Duration, limit int) (Removed, error)
}

// Member is somebody who is in the app.
type Member struct {
	ClientID, Channel, ConnectionID string
	// Page is where in the app.
	Page string
	// Since is when the member came, SeenAt when Ably last spoke of them.
	Since, SeenAt time.Time
	// ExpiresAt is when they count as gone without another word.
	ExpiresAt time.Time
}

// MemberQuery asks for members. Empty texts ask for any.
type MemberQuery struct {
	ClientID, Channel, Page string
	// After is the last member of the page before; nil for the first.
	After *MemberCursor
	Limit int
}

// MemberCursor is where a page ended: by client, channel and connection.
type MemberCursor struct{ ClientID, Channel, ConnectionID string }
