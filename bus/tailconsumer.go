package bus

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// tailConsumer is one consumer of a stream, on one wire: ephemeral, in memory, without acknowledgements, pulled. A pulled consumer is never
// pushed over: what is on the way was asked for, so it fits the channel, and while ReceiveLog blocks nothing is asked for. Each message has a
// sequence of the consumer; the first that is not the next one ends the consumer, and another begins behind the last good message. So do a
// heartbeat that tells of a message which did not come, silence, a broken wire, and whatever JetStream has to say.
//
// nats.go has an ordered consumer, too. It belongs to one nats.Conn, of which we make many, resets itself out of our sight, and hands out single messages.
type tailConsumer struct {
	tail     *tail
	wire     *wire
	decoder  *decoder
	subjects []string
	version  uint64

	name  string
	inbox string
	ch    chan *nats.Msg
	asked int    // messages that were asked for and have not come
	seen  uint64 // the consumer's sequence of the last message
	run   []stored

	worked bool // it was alive
}

const (
	// tailAskMax is how many messages may be on the way, tailBytesMax how many bytes of one pull, unless a message may be larger.
	tailAskMax   = 1024
	tailBytesMax = 4 << 20
	// pullExpiry is how long a pull stands; heartbeats come every tailBeat, and after tailSilence without any the consumer is given up.
	pullExpiry  = 30 * time.Second
	tailBeat    = 2 * time.Second
	tailSilence = 3 * tailBeat
	// tailIdle is how long JetStream keeps a consumer that nobody pulls.
	tailIdle = time.Minute
)

// serve makes the consumer and hands out what it brings until something is wrong or something else is wanted.
func (c *tailConsumer) serve(ctx context.Context) {
	stream := c.tail.bus.streamName(c.tail.stream)
	c.inbox = nats.NewInbox()
	c.name = "tg_" + strings.TrimPrefix(c.inbox, nats.InboxPrefix)
	c.ch = make(chan *nats.Msg, 2*tailAskMax)
	sub, err := c.wire.nc.ChanSubscribe(c.inbox, c.ch)
	if err != nil {
		return
	}
	defer func() {
		_ = sub.Unsubscribe() // fails only if the wire is gone
		c.tail.bus.archive.forget(apiPrefix + "CONSUMER.DELETE." + stream + "." + c.name)
	}()
	if !c.create(stream) {
		return
	}
	next := apiPrefix + "CONSUMER.MSG.NEXT." + stream + "." + c.name
	quiet := time.NewTimer(tailSilence)
	defer quiet.Stop()
	for c.pull(next) {
		select {
		case m := <-c.ch:
			if !c.take(m) {
				return
			}
			quiet.Reset(tailSilence)
			c.worked = true
		case <-c.tail.wake:
			if _, now, _ := c.tail.want(); now != c.version {
				return
			}
		case <-c.wire.gone:
			return
		case <-quiet.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// create makes the consumer, behind what was handed out.
func (c *tailConsumer) create(stream string) bool {
	t, a := c.tail, c.tail.bus.archive
	info, err := a.waitInfo(stream)
	if err != nil {
		return false
	}
	_, _, last := t.want()
	switch {
	case info.last < last:
		// A loss of power took the end of the stream; it goes on with numbers that were there before.
		t.rewind(c.version, info.last)
		last = info.last
	case info.first > last+1:
		t.bus.count.logSkipped.Add(info.first - last - 1)
		last = info.first - 1
		t.advance(c.version, last)
	}
	err = a.waitAPI(apiPrefix+"CONSUMER.CREATE."+stream+"."+c.name, c.request(stream, last+1))
	if e, ok := err.(*apiError); ok && (e.ErrCode == errFiltersOverlap || e.ErrCode == errFilterNotSubset) {
		c.subjects = wholeStream
		err = a.waitAPI(apiPrefix+"CONSUMER.CREATE."+stream+"."+c.name, c.request(stream, last+1))
	}
	return err == nil
}

// request is what JetStream wants to know of a consumer.
func (c *tailConsumer) request(stream string, from uint64) []byte {
	type config struct {
		Name     string        `json:"name"`
		Deliver  string        `json:"deliver_policy"`
		From     uint64        `json:"opt_start_seq"`
		Ack      string        `json:"ack_policy"`
		Replay   string        `json:"replay_policy"`
		Idle     time.Duration `json:"inactive_threshold"`
		Replicas int           `json:"num_replicas"`
		Memory   bool          `json:"mem_storage"`
		Subjects []string      `json:"filter_subjects,omitempty"`
	}
	subjects := c.subjects
	if slices.Equal(subjects, wholeStream) {
		subjects = nil // as a subject it would have to be one of the stream's
	}
	p, _ := json.Marshal(struct {
		Stream string `json:"stream_name"`
		Config config `json:"config"`
	}{stream, config{
		Name: c.name, Deliver: "by_start_sequence", From: from, Ack: "none", Replay: "instant",
		Idle: tailIdle, Replicas: 1, Memory: true, Subjects: subjects,
	}}) // cannot fail
	return p
}

// pull asks for more when half of what may be on the way has come. false: the wire is broken.
func (c *tailConsumer) pull(next string) bool {
	if c.asked > tailAskMax/2 {
		return true
	}
	p, _ := json.Marshal(struct {
		Expires time.Duration `json:"expires"`
		Batch   int           `json:"batch"`
		Bytes   int           `json:"max_bytes"`
		Beat    time.Duration `json:"idle_heartbeat"`
	}{pullExpiry, tailAskMax - c.asked, max(tailBytesMax, c.wire.maxPayload+HeaderBytesMax+2*SubjectBytesMax), tailBeat}) // cannot fail
	c.asked = tailAskMax
	return c.wire.nc.PublishRequest(next, c.inbox, p) == nil
}

// take hands out a message and what has come with it. false: the consumer is of no use any more.
func (c *tailConsumer) take(m *nats.Msg) bool {
	c.run = c.run[:0]
	good := c.note(m)
	for good && len(c.run) < runMax && len(c.ch) > 0 {
		good = c.note(<-c.ch)
	}
	handed := c.deliver()
	return good && handed
}

// note adds a message to the run, or heeds what it says of the consumer.
func (c *tailConsumer) note(m *nats.Msg) bool {
	if m.Subject == c.inbox { // messages come with their own subject
		return c.heed(m)
	}
	seq, own, at, ok := ackNumbers(m.Reply)
	if !ok || own != c.seen+1 {
		return false
	}
	c.seen = own
	c.asked--
	c.run = append(c.run, stored{seq: seq, sec: uint32(at / int64(time.Second)), subject: m.Subject, header: m.Header, data: m.Data})
	return true
}

// heed heeds a status.
func (c *tailConsumer) heed(m *nats.Msg) bool {
	code := status(m)
	why, _ := first(m.Header, "Description")
	switch {
	case code == "100":
		return c.beat(m)
	case code == "408", code == "409" && (strings.HasPrefix(why, "Message Size") || strings.HasPrefix(why, "Batch")):
		v, _ := first(m.Header, "Nats-Pending-Messages")
		n, _ := strconv.Atoi(v)
		c.asked = max(c.asked-n, 0)
		return true
	}
	return false // deleted, another leader, shut down, nobody there
}

// beat heeds a heartbeat: it tells whether a message is missing, and how far the consumer has looked through the stream.
func (c *tailConsumer) beat(m *nats.Msg) bool {
	own, _ := first(m.Header, "Nats-Last-Consumer")
	last, _ := first(m.Header, "Nats-Last-Stream")
	n, err := strconv.ParseUint(own, 10, 64)
	seq, err2 := strconv.ParseUint(last, 10, 64)
	if err != nil || err2 != nil {
		return true
	}
	return n == c.seen && (len(c.run) > 0 || c.tail.advance(c.version, seq))
}

// deliver hands out the run. false: something else is wanted, and the next consumer brings the run again.
func (c *tailConsumer) deliver() bool {
	if len(c.run) == 0 {
		return true
	}
	t, d := c.tail, c.decoder
	d.reset()
	for i := range c.run {
		if !t.wasWanted(c.run[i].seq, c.run[i].subject) {
			continue
		}
		d.addStored(t.stream, &c.run[i], &t.bus.count)
	}
	if !t.advance(c.version, c.run[len(c.run)-1].seq) {
		return false
	}
	if len(d.run) > 0 {
		t.bus.count.logReceived.Add(uint64(len(d.run)))
		t.bus.options.ReceiveLog(d.run)
	}
	clear(c.run)
	return true
}

// rewind goes back to an earlier sequence.
func (t *tail) rewind(version, last uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.version == version {
		t.last = last
	}
}

// ackNumbers reads the reply subject of a consumer's message: $JS.ACK.<stream>.<consumer>.<deliveries>.<seq>.<own seq>.<time>.<pending>, or with
// domain and account before the stream.
func ackNumbers(reply string) (seq, own uint64, at int64, ok bool) {
	rest, ok := strings.CutPrefix(reply, "$JS.ACK.")
	if !ok {
		return 0, 0, 0, false
	}
	before := 3 // tokens
	if strings.Count(rest, ".") > 6 {
		before = 5
	}
	for range before {
		_, rest, _ = strings.Cut(rest, ".")
	}
	one, rest, _ := strings.Cut(rest, ".")
	two, rest, _ := strings.Cut(rest, ".")
	three, _, _ := strings.Cut(rest, ".")
	seq, err := strconv.ParseUint(one, 10, 64)
	own, err2 := strconv.ParseUint(two, 10, 64)
	at, err3 := strconv.ParseInt(three, 10, 64)
	return seq, own, at, err == nil && err2 == nil && err3 == nil
}
