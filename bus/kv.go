package bus

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// The stream and the buckets of presence. Changes are stored on presenceState, followed by what happened and the key of the client id; events are
// published on presenceEvents, followed by the same.
const (
	presenceStream = "TG_PRESENCE"
	presenceState  = "$TG.state."
	presenceEvents = "$TG.presence."
	presenceBucket = "KV_TG_presence"
	presencePrefix = "$KV.TG_presence."
	gatewaysStream = "KV_TG_gateways"
	gatewaysPrefix = "$KV.TG_gateways."
)

// What can be wrong with a bucket.
var (
	errFenced    = errors.New("bus: somebody else wrote the key first")
	errNoAnswer  = errors.New("bus: JetStream did not answer")
	errNoStream  = errors.New("bus: the bucket is not there, or has no leader")
	errManyKeys  = errors.New("bus: more keys than can be read at once")
	errNoStorage = errors.New("bus: the NATS server has no JetStream")
)

const (
	// storeTime is how long JetStream may take to answer before we ask again.
	storeTime = 5 * time.Second
	// storeRepliesMax is how many answers may wait for the one goroutine that reads them.
	storeRepliesMax = 8192
)

// store reads and writes buckets over one wire, for one goroutine.
type store struct {
	w       *wire
	nc      *nats.Conn
	inbox   string
	sub     *nats.Subscription
	replies chan *nats.Msg
	asked   uint64 // questions so far; the answers to earlier ones are passed over
}

// kvEntry is one value of a bucket.
type kvEntry struct {
	subject  string
	revision uint64
	value    []byte // nil: deleted
	left     int    // values after it, of a page
}

// storeOf returns a store on the present wire: s itself if it is on that. ErrDisconnected: there is none.
func (b *Bus) storeOf(s *store) (*store, error) {
	w := b.echo.now.Load()
	switch {
	case w == nil:
		return nil, ErrDisconnected
	case s != nil && s.w == w:
		return s, nil
	}
	s = &store{w: w, nc: w.nc, inbox: nats.NewInbox() + ".", replies: make(chan *nats.Msg, storeRepliesMax)}
	var err error
	if s.sub, err = w.nc.ChanSubscribe(s.inbox+">", s.replies); err != nil {
		return nil, ErrDisconnected
	}
	return s, nil
}

// close ends the subscription, if the wire still stands.
func (s *store) close() {
	if s != nil {
		_ = s.sub.Unsubscribe()
	}
}

// next waits for an answer to the question under way.
func (s *store) next(ctx context.Context, deadline <-chan time.Time) (m *nats.Msg, rest string, err error) {
	prefix := s.inbox + strconv.FormatUint(s.asked, 36)
	for {
		select {
		case m = <-s.replies:
			if rest, ok := strings.CutPrefix(m.Subject, prefix); ok && (rest == "" || rest[0] == '.') {
				return m, rest, nil
			}
		case <-s.w.gone:
			return nil, "", ErrDisconnected
		case <-deadline:
			return nil, "", errNoAnswer
		case <-ctx.Done():
			return nil, "", ctx.Err()
		}
	}
}

// ask begins a question and returns where its answers are to go.
func (s *store) ask() string {
	s.asked++
	return s.inbox + strconv.FormatUint(s.asked, 36)
}

// directGet is the question for values of a stream.
type directGet struct {
	Seq       uint64   `json:"seq,omitempty"`
	Batch     int      `json:"batch,omitempty"`
	MaxBytes  int      `json:"max_bytes,omitempty"`
	NextFor   string   `json:"next_by_subj,omitempty"`
	MultiLast []string `json:"multi_last,omitempty"`
}

// read has each called with every value that answers q; it may keep the value.
func (s *store) read(ctx context.Context, stream string, q *directGet, each func(v kvEntry)) error {
	body, _ := json.Marshal(q)
	if err := s.nc.PublishRequest("$JS.API.DIRECT.GET."+stream, s.ask(), body); err != nil {
		return ErrDisconnected
	}
	deadline := time.NewTimer(storeTime)
	defer deadline.Stop()
	for {
		m, _, err := s.next(ctx, deadline.C)
		if err != nil {
			return err
		}
		switch status := m.Header.Get("Status"); status {
		case "":
			each(newStored(m))
		case "204", "404": // the end, or nothing
			return nil
		case "413":
			return errManyKeys
		case "503":
			return errNoStream
		default:
			return fmt.Errorf("bus: reading %s: %s %s", stream, status, m.Header.Get("Description"))
		}
	}
}

func newStored(m *nats.Msg) kvEntry {
	v := kvEntry{value: m.Data}
	v.subject = m.Header.Get("Nats-Subject")
	v.revision, _ = strconv.ParseUint(m.Header.Get("Nats-Sequence"), 10, 64)
	v.left, _ = strconv.Atoi(m.Header.Get("Nats-Num-Pending"))
	if len(m.Header["Nats-Marker-Reason"]) > 0 || len(m.Header["KV-Operation"]) > 0 {
		v.value = nil
	}
	return v
}

// expecting is the header of a write that replaces the value with a revision, 0 for none; ttl is how long the new one stays, 0 for ever.
func expecting(revision uint64, ttl time.Duration) nats.Header {
	h := lasting(ttl)
	h[nats.ExpectedLastSubjSeqHdr] = []string{strconv.FormatUint(revision, 10)}
	return h
}

// lasting is the header of a write whatever there is.
func lasting(ttl time.Duration) nats.Header {
	h := nats.Header{}
	if ttl > 0 {
		h["Nats-TTL"] = []string{strconv.FormatInt(int64((ttl+time.Second-1)/time.Second), 10)}
	}
	return h
}

// put replaces one value and waits for it.
func (s *store) put(ctx context.Context, subject string, value []byte, h nats.Header) (revision uint64, err error) {
	m := &nats.Msg{Subject: subject, Reply: s.ask(), Data: value, Header: h}
	if err := s.nc.PublishMsg(m); err != nil {
		return 0, ErrDisconnected
	}
	deadline := time.NewTimer(storeTime)
	defer deadline.Stop()
	answer, _, err := s.next(ctx, deadline.C)
	if err != nil {
		return 0, err
	}
	return readAck(answer)
}

// readAck is what JetStream says of a write.
func readAck(m *nats.Msg) (revision uint64, err error) {
	if m.Header.Get("Status") == "503" {
		return 0, errNoStream
	}
	if i := bytes.Index(m.Data, []byte(`"seq":`)); i > 0 && !bytes.Contains(m.Data, []byte(`"error"`)) {
		for _, c := range m.Data[i+len(`"seq":`):] {
			if c < '0' || c > '9' {
				break
			}
			revision = revision*10 + uint64(c-'0')
		}
		return revision, nil
	}
	var ack struct {
		Error struct {
			Code    int    `json:"err_code"`
			Message string `json:"description"`
		} `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &ack); err != nil {
		return 0, fmt.Errorf("bus: JetStream's answer is not understood: %w", err)
	}
	switch ack.Error.Code {
	case 10071, 10164: // wrong last sequence
		return 0, errFenced
	}
	return 0, fmt.Errorf("bus: JetStream refuses: %s (%d)", ack.Error.Message, ack.Error.Code)
}

// api asks JetStream's API; answer may be nil. The code is that of an error of JetStream's.
func (s *store) api(ctx context.Context, subject string, question, answer any) (code int, err error) {
	var body []byte
	if question != nil {
		body, _ = json.Marshal(question)
	}
	if err := s.nc.PublishRequest("$JS.API."+subject, s.ask(), body); err != nil {
		return 0, ErrDisconnected
	}
	deadline := time.NewTimer(storeTime)
	defer deadline.Stop()
	m, _, err := s.next(ctx, deadline.C)
	switch {
	case err != nil:
		return 0, err
	case m.Header.Get("Status") == "503":
		return 0, errNoStorage
	}
	var wrong struct {
		Error *struct {
			Code    int    `json:"err_code"`
			Message string `json:"description"`
		} `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &wrong); err != nil {
		return 0, fmt.Errorf("bus: JetStream's answer is not understood: %w", err)
	}
	switch {
	case wrong.Error != nil && wrong.Error.Code == codeNoStream:
		return codeNoStream, errNoStream
	case wrong.Error != nil:
		return wrong.Error.Code, fmt.Errorf("bus: JetStream: %s (%d)", wrong.Error.Message, wrong.Error.Code)
	case answer == nil:
		return 0, nil
	}
	return 0, json.Unmarshal(m.Data, answer)
}
