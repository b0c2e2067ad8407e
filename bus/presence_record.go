package bus

import (
	"encoding/json"
	"strconv"
	"time"
)

// presenceRecord is a record as it is in the bucket, for people and programs. Names that AWS has for the same are AWS's.
type presenceRecord struct {
	EventType string `json:"eventType"`
	ClientID  string `json:"clientId"`
	Online    bool   `json:"online"`
	Gateway   string `json:"gateway"`
	Process   string `json:"process"` // the lease it was written under
	Since     string `json:"since"`
	Timestamp int64  `json:"timestamp"` // of the change, in milliseconds since 1970

	// VersionNumber is the generation: of two records of one client that with the larger one is the later. It is larger than what a double
	// holds exactly; SessionIdentifier is the same as a text.
	VersionNumber     uint64 `json:"versionNumber"`
	State             uint32 `json:"state"` // counts the states of one version
	SessionIdentifier string `json:"sessionIdentifier"`

	Transport           string `json:"transport,omitempty"`
	Protocol            string `json:"protocol,omitempty"`
	IPAddress           string `json:"ipAddress,omitempty"`
	PrincipalIdentifier string `json:"principalIdentifier,omitempty"`

	Reason                    string `json:"reason,omitempty"`
	DisconnectReason          string `json:"disconnectReason,omitempty"` // as AWS calls it
	ClientInitiatedDisconnect *bool  `json:"clientInitiatedDisconnect,omitempty"`
}

// Reasons that mean something here.
const (
	ReasonTakenOver   = "taken_over"   // the client id connected again
	ReasonGatewayLost = "gateway_lost" // the gateway died
)

const (
	eventConnected    = "connected"
	eventDisconnected = "disconnected"
	eventRenewed      = "renewed" // nothing but the lease is another
)

// record is what a state becomes in the bucket.
func (s *PresenceState) record(gateway, process, event string) presenceRecord {
	r := presenceRecord{
		EventType: event, ClientID: s.Client, Online: s.Online, Gateway: gateway, Process: process, Timestamp: s.at,
		VersionNumber: s.Generation, State: 1, SessionIdentifier: strconv.FormatUint(s.Generation, 10),
		Transport: s.Transport, Protocol: s.Protocol, PrincipalIdentifier: s.User,
	}
	if s.Peer.IsValid() {
		r.IPAddress = s.Peer.Unmap().String()
	}
	if s.Online {
		r.Since = stamp(int64(s.Generation / uint64(time.Millisecond)))
		return r
	}
	r.Since = stamp(s.at)
	byDevice := s.ByDevice
	r.Reason, r.DisconnectReason, r.ClientInitiatedDisconnect = s.Reason, s.Reason, &byDevice
	return r
}

// lost is the record of a connection whose gateway died.
func (r presenceRecord) lost(at int64) presenceRecord {
	byDevice := false
	r.EventType, r.Online, r.Since, r.Timestamp = eventDisconnected, false, stamp(at), at
	r.Reason, r.DisconnectReason, r.ClientInitiatedDisconnect = ReasonGatewayLost, ReasonGatewayLost, &byDevice
	r.State++
	return r
}

// stamp is a time as RFC 3339 with milliseconds.
func stamp(ms int64) string { return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z") }

// judge finds the first of the states that the record has yet to be brought to, and what it is to be then; write is false if there is none. done is how many of
// the states are dealt with once it is written. So each connected of a client is of a later version than what was before,
// and each disconnected of the same version as the connected before it; a takeover is a connected after another.
func judge(was *presenceRecord, states []PresenceState, gateway, process string) (next presenceRecord, write bool, done int) {
	for i := range states {
		s := &states[i]
		same := s.Generation == was.VersionNumber
		switch {
		case s.lost != "":
			if was.Online && was.Process == s.lost {
				return was.lost(s.at), true, i + 1
			}
			continue
		case s.Generation < was.VersionNumber: // somebody has connected since
			continue
		case same && s.Online && was.Online && was.Process == process, same && !s.Online && !was.Online && was.Reason != ReasonGatewayLost:
			continue // it is told already
		case !same && !s.Online:
			if s.Reason == ReasonTakenOver && i+1 < len(states) {
				continue // the next state says so
			}
			begun := *s
			begun.Online = true
			return begun.record(gateway, process, eventConnected), true, i
		}
		next = s.record(gateway, process, eventConnected)
		switch {
		case same && s.Online == was.Online:
			next.EventType = eventRenewed
		case !s.Online:
			next.EventType = eventDisconnected
			if s.Reason == ReasonTakenOver && i+1 < len(states) && states[i+1].Online {
				continue
			}
		}
		if same {
			next.State = was.State + 1
		}
		return next, true, i + 1
	}
	return next, false, len(states)
}

func (r *presenceRecord) encode() []byte {
	p, _ := json.Marshal(r) // nothing in it can fail
	return p
}
