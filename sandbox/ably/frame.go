package ably

// Actions of protocol messages. Source: Ably, client library specification,
// type ProtocolMessage.
const (
	actionHeartbeat = iota
	actionAck
	actionNack
	actionConnect
	actionConnected
	actionDisconnect
	actionDisconnected
	actionClose
	actionClosed
	actionError
	actionAttach
	actionAttached
	actionDetach
	actionDetached
	actionPresence
	actionMessage
	actionSync
	actionAuth
)

// Actions of presence messages.
const (
	presenceAbsent = iota
	presencePresent
	presenceEnter
	presenceLeave
	presenceUpdate
)

// Flags of ATTACH and ATTACHED.
const (
	flagHasPresence int64 = 1 << 0
	flagHasBacklog  int64 = 1 << 1
	flagResumed     int64 = 1 << 2

	modePresence          int64 = 1 << 16
	modePublish           int64 = 1 << 17
	modeSubscribe         int64 = 1 << 18
	modePresenceSubscribe int64 = 1 << 19
	modeMask                    = modePresence | modePublish | modeSubscribe | modePresenceSubscribe
)

// frame is a protocol message on its way to a client. Fields without
// omitempty, and the pointers where set, must be there even if zero: some
// clients wait for ever for a msgSerial of 0.
type frame struct {
	Action            int                `json:"action"`
	ID                string             `json:"id,omitempty"`
	Channel           string             `json:"channel,omitempty"`
	ChannelSerial     string             `json:"channelSerial,omitempty"`
	ConnectionID      string             `json:"connectionId,omitempty"`
	ConnectionDetails *connectionDetails `json:"connectionDetails,omitempty"`
	Error             *errorInfo         `json:"error,omitempty"`
	MsgSerial         *int64             `json:"msgSerial,omitempty"`
	Count             *int               `json:"count,omitempty"`
	Timestamp         int64              `json:"timestamp,omitempty"`
	Flags             int64              `json:"flags,omitempty"`
	Params            map[string]string  `json:"params,omitempty"`
	Messages          []message          `json:"messages,omitempty"`
	Presence          []presence         `json:"presence,omitempty"`
	Res               []publishResult    `json:"res,omitempty"`

	messages []*message // become Messages when written
	receipt  *receipt   // of what an ACK tells of
}

type publishResult struct {
	Serials []string `json:"serials"`
}

type connectionDetails struct {
	ClientID           string `json:"clientId,omitempty"`
	ConnectionKey      string `json:"connectionKey"`
	MaxMessageSize     int64  `json:"maxMessageSize"`
	MaxFrameSize       int64  `json:"maxFrameSize"`
	MaxInboundRate     int64  `json:"maxInboundRate"`
	ConnectionStateTTL int64  `json:"connectionStateTtl"`
	MaxIdleInterval    int64  `json:"maxIdleInterval"`
	ServerID           string `json:"serverId"`
}

// in returns the frame as a client of the given format gets it.
func (f frame) in(to format) frame {
	for _, m := range f.messages {
		f.Messages = append(f.Messages, m.in(to))
	}
	all := f.Presence
	f.Presence = nil
	for _, p := range all {
		f.Presence = append(f.Presence, p.in(to))
	}
	return f
}
