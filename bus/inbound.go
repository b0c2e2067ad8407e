package bus

import (
	"bytes"
	"encoding/base64"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/nats-io/nats.go"
)

// decoder turns NATS messages into a run of Inbound, in memory it uses again. Owned by the receiving goroutine.
type decoder struct {
	run   []Inbound
	arena []byte // topics and header values of this run
	site  string // what is stored at another is not stored here
}

func (d *decoder) reset() {
	d.run = d.run[:0]
	d.arena = d.arena[:0]
}

// keep returns what was appended to the arena since mark. The arena may move later; then the slice keeps the old memory.
func (d *decoder) keep(mark int) []byte {
	return d.arena[mark:len(d.arena):len(d.arena)]
}

// add appends one message of core NATS to the run. false: it can't go to a device, and that is counted.
func (d *decoder) add(id uint32, m *nats.Msg, c *counters) bool {
	in := d.put(m.Subject, m.Header, m.Data, c)
	if in == nil {
		return false
	}
	in.Interest, in.Reply = id, m.Reply
	if in.Reply != "" {
		in.Ask, _ = first(m.Header, headerAsk)
		if fromJetStream(m.Header) {
			in.Reply = ""
		}
	}
	return true
}

// addStored appends one message of a stream to the run. false: it is a marker, or can't go to a device, and the latter is counted.
func (d *decoder) addStored(stream uint16, s *stored, c *counters) bool {
	subject, ok := plainSubject(stream, s.subject)
	if !ok {
		return false
	}
	in := d.put(subject, s.header, s.data, c)
	if in == nil {
		return false
	}
	in.Stream, in.Seq, in.StoredSec = stream, s.seq, s.sec
	if !in.FromDevice {
		in.QoS = 1 // a backend that stores a message wants it to arrive
	}
	return true
}

// put appends a message to the run; nil: it can't go to a device.
func (d *decoder) put(natural string, header nats.Header, data []byte, c *counters) *Inbound {
	mark := len(d.arena)
	subject := append(d.arena, natural...)
	if Reserved(subject[mark:]) {
		if !isFirstLevel(subject[mark:], ourLevel) { // every "#" brings those
			c.inReserved.Add(1)
		}
		return nil
	}
	var ok bool
	if d.arena, ok = AppendTopic(subject, subject[mark:]); !ok {
		d.arena = d.arena[:mark]
		c.inUnmappable.Add(1)
		return nil
	}
	topic := d.keep(len(subject))

	n := len(d.run)
	if n < cap(d.run) {
		d.run = d.run[:n+1]
	} else {
		d.run = append(d.run, Inbound{})
	}
	in := &d.run[n]
	users := in.Fields.Users[:0]
	*in = Inbound{Topic: topic, Payload: data}
	in.Fields.Users = users
	if len(header) > 0 {
		d.headers(in, header, c)
	}
	return in
}

func (d *decoder) headers(in *Inbound, h nats.Header, c *counters) {
	if v, ok := one(h, headerTG); ok {
		d.tg(in, v)
	}
	f := &in.Fields
	if v, ok := one(h, headerFormat); ok {
		f.HasFormat = v == "0" || v == "1"
		if f.HasFormat {
			f.Format = v[0] - '0'
		}
		c.countBad(f.HasFormat)
	}
	if v, ok := first(h, headerType); ok {
		f.ContentType, ok = d.text(v)
		c.countBad(ok)
	}
	if v, ok := one(h, headerResponse); ok {
		f.ResponseTopic = d.topic(v)
		c.countBad(f.ResponseTopic != nil)
	}
	if v, ok := first(h, headerCorrelation); ok {
		data, err := base64.StdEncoding.DecodeString(v)
		c.countBad(err == nil)
		if err == nil {
			f.CorrelationData = data
		}
	}
	if v, ok := one(h, headerExpiry); ok {
		sec, err := strconv.ParseUint(v, 10, 32)
		c.countBad(err == nil)
		f.HasExpiry, f.ExpirySec = err == nil, uint32(sec)
		if err != nil {
			f.ExpirySec = 0
		}
	}
	for _, v := range h[headerUser] {
		left, right, _ := strings.Cut(v, "=")
		name, ok := d.text(left)
		value, ok2 := d.text(right)
		c.countBad(ok && ok2)
		if ok && ok2 {
			f.Users = append(f.Users, UserProperty{Name: name, Value: value})
		}
	}
	in.HasFields = !f.none()
}

// countBad counts a field that was left out.
func (c *counters) countBad(good bool) {
	if !good {
		c.inBadFields.Add(1)
	}
}

// first returns the first value of a header, which may be empty.
func first(h nats.Header, name string) (string, bool) {
	v := h[name]
	if len(v) == 0 {
		return "", false
	}
	return v[0], true
}

// one returns the first value of a header, unless it is empty.
func one(h nats.Header, name string) (string, bool) {
	v, ok := first(h, name)
	return v, ok && v != ""
}

// text reads a percent-escaped value; false if MQTT could not carry it. [MQTT-1.5.4-1] [MQTT-1.5.4-2]
func (d *decoder) text(v string) ([]byte, bool) {
	mark := len(d.arena)
	d.arena = appendUnescaped(d.arena, v)
	text := d.keep(mark)
	if len(text) > TopicBytesMax || !utf8.Valid(text) || bytes.IndexByte(text, 0) >= 0 {
		d.arena = d.arena[:mark]
		return nil, false
	}
	return text, true
}

// topic maps a subject in a header; nil if no topic maps to it or it is reserved.
func (d *decoder) topic(subject string) []byte {
	s := []byte(subject)
	mark := len(d.arena)
	var ok bool
	if d.arena, ok = AppendTopic(d.arena, s); !ok || Reserved(s) {
		d.arena = d.arena[:mark]
		return nil
	}
	return d.keep(mark)
}

// tg reads the header that gateways write; unknown parts are for later versions. What does not parse is as if it were not there.
func (d *decoder) tg(in *Inbound, v string) {
	flags, rest, _ := strings.Cut(v, " ")
	if flags == "" || flags[0] < '0' || flags[0] > '2' {
		return
	}
	letters, retain := strings.CutPrefix(flags[1:], "r")
	letters, stored := strings.CutPrefix(letters, "d")
	if letters != "" {
		return
	}
	in.FromDevice, in.QoS, in.Retain = true, flags[0]-'0', retain
	site := ""
	for rest != "" {
		var part string
		part, rest, _ = strings.Cut(rest, " ")
		if id, ok := strings.CutPrefix(part, "c="); ok {
			in.ClientID, _ = d.text(id)
		} else if id, ok := strings.CutPrefix(part, "p="); ok {
			n, _ := strconv.ParseUint(id, 10, 16)
			in.PacketID = uint16(n)
		} else if s, ok := strings.CutPrefix(part, "s="); ok {
			site = s
		}
	}
	in.Stored = stored && site == d.site
}
