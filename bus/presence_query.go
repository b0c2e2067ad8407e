package bus

import (
	"context"
	"encoding/json"
	"strings"
)

// PresenceRecord is a record as it is stored, and its client id.
type PresenceRecord struct {
	Client string
	Online bool
	JSON   []byte
}

// Describe is the record of a state that is not stored, as JSON. Safe from any goroutine.
func (p *Presence) Describe(s *PresenceState) []byte {
	r := s.record(p.bus.options.Node, p.processName(), eventConnected)
	r.Timestamp = int64(s.Generation / 1e6)
	return r.encode()
}

// Lookup reads the record of one client; ok is false when there is none. It waits for NATS: not for event loops.
func (p *Presence) Lookup(ctx context.Context, client string) (r PresenceRecord, ok bool, err error) {
	s, err := p.bus.storeOf(nil)
	if err != nil {
		return r, false, err
	}
	defer s.close()
	key := string(appendPresenceKey(nil, client))
	if len(key) > presenceKeyMax {
		return r, false, nil
	}
	err = s.read(ctx, presenceBucket, &directGet{MultiLast: []string{presencePrefix + key}}, func(v kvEntry) { r, ok = v.presence() })
	return r, ok, err
}

// Page reads at most most records in the order in which they changed, from a revision on, and has each called with them until it returns
// false. next is where the next page begins, 0 after the last. A record that changes meanwhile comes again on a later page; none is missed. It
// waits for NATS: not for event loops.
func (p *Presence) Page(ctx context.Context, from uint64, most int, each func(r PresenceRecord) bool) (next uint64, err error) {
	s, err := p.bus.storeOf(nil)
	if err != nil {
		return 0, err
	}
	defer s.close()
	left, wanted := 0, true
	next = max(1, from)
	err = s.page(ctx, presenceBucket, presencePrefix+">", next, most, func(v kvEntry) {
		if !wanted {
			return
		}
		next, left = v.revision+1, v.left
		if r, ok := v.presence(); ok {
			wanted = each(r)
		}
	})
	if left == 0 {
		next = 0
	}
	return next, err
}

// presence is the record in a value.
func (v *kvEntry) presence() (PresenceRecord, bool) {
	var r presenceRecord
	if v.value == nil || json.Unmarshal(v.value, &r) != nil || !strings.HasPrefix(v.subject, presencePrefix) {
		return PresenceRecord{}, false
	}
	return PresenceRecord{Client: r.ClientID, Online: r.Online, JSON: v.value}, true
}

// Gateways has each called with what every gateway that holds a lease tells of itself, as JSON; records is how many clients have a record. It
// waits for NATS: not for event loops.
func (p *Presence) Gateways(ctx context.Context, each func(lease []byte)) (records uint64, err error) {
	s, err := p.bus.storeOf(nil)
	if err != nil {
		return 0, err
	}
	defer s.close()
	leases, _, _, err := s.leases(ctx)
	if err != nil {
		return 0, err
	}
	for _, v := range leases {
		if v.value != nil {
			each(v.value)
		}
	}
	_, records, err = s.bucketState(ctx, presenceBucket)
	return records, err
}
