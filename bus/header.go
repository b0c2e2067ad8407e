package bus

import (
	"encoding/base64"
	"strconv"
	"unsafe"

	"github.com/nats-io/nats.go"
)

// Headers of an uplink message.
//
//	TG: 1rd c=pump-7 u=anna n=edge-1 s=plant-2 p=17
//	    ||| |        |      |        |         +-- packet id, only in the log of QoS 2 (store.go)
//	    ||| |        |      |        +------------ with d: the site whose stream has it, with Options.Leaf
//	    ||| |        |      +--------------------- node, with Options.HeaderNode
//	    ||| |        +---------------------------- user, with Options.HeaderUser
//	    ||| +------------------------------------- client id
//	    ||+--------------------------------------- present if a stream has this message (Message.Stored)
//	    |+---------------------------------------- present if retain
//	    +----------------------------------------- QoS
//
// Values are percent-escaped (escape.go), so that nothing in them can forge a part or a header. The MQTT 5 fields come as headers of their own,
// only when present; they may be set by backends on messages to devices, too:
//
//	TG-Format: 0 | 1               payload format indicator
//	TG-Type: text                  content type, percent-escaped, spaces inside as they are
//	TG-Response: subject           response topic, as the NATS subject to answer on
//	TG-Correlation: base64         correlation data
//	TG-Expiry: seconds
//	TG-User: name=value            repeated, in order, percent-escaped; "=" is escaped in the name
//
// A response topic that is reserved ("$JS/API/…") is left out: a backend that answers there would act for the device with its own
// rights.
const (
	headerTG          = "TG"
	headerFormat      = "TG-Format"
	headerType        = "TG-Type"
	headerResponse    = "TG-Response"
	headerCorrelation = "TG-Correlation"
	headerExpiry      = "TG-Expiry"
	headerUser        = "TG-User"

	// Of JetStream.
	headerMsgID        = "Nats-Msg-Id"
	headerExpectStream = "Nats-Expected-Stream"

	// HeaderBytesMax is the longest header block of a message: JetStream stores no longer one. A message beyond it is dropped and counted.
	HeaderBytesMax = 65535

	headerFrame = len("NATS/1.0\r\n\r\n")
	headerLine  = len(": \r\n")
)

// verdict says whether a message can be published.
type verdict uint8

const (
	fits verdict = iota
	reservedTopic
	longSubject
	longHeader
	longPayload
)

// encoder builds the NATS message of a device message in memory that it uses again: nats.go copies everything while it publishes.
// Owned by one goroutine.
type encoder struct {
	count   *counters
	user    bool
	node    []byte // " n=…" or nothing
	site    string // " s=…" or nothing
	subject []byte
	value   []byte
	msg     nats.Msg
	header  nats.Header // of messages without fields: TG only
	rich    nats.Header // of messages with fields
	one     [1]string   // the value of TG

	// Of a Storer's encoder, see encodeStored.
	lead   []byte // goes before the subject
	key    []byte // of a client
	digits []byte // a packet id
	packet uint16 // p= of the header TG
	id     string // of the message, for JetStream
	expect string // stream

	headBytes int  // of the header block of msg
	plain     bool // msg has no header but TG
}

func newEncoder(b *Bus) *encoder {
	e := &encoder{count: &b.count, user: b.options.HeaderUser, rich: make(nats.Header)}
	if b.options.HeaderNode {
		e.node = appendEscaped([]byte(" n="), []byte(b.options.Node), wordPlain)
	}
	if s := b.options.site(); s != "" {
		e.site = " s=" + s
	}
	e.header = nats.Header{headerTG: e.one[:]}
	return e
}

// encode returns the NATS message, valid until the next call. payloadMax is the server's limit, 0 when unknown.
func (e *encoder) encode(m *Message, payloadMax int) (*nats.Msg, verdict) {
	switch {
	case len(m.Subject) > 0:
		e.subject = append(append(e.subject[:0], e.lead...), m.Subject...)
	case len(m.Topic) == 0 || Reserved(m.Topic):
		return nil, reservedTopic
	default:
		e.subject = AppendSubject(append(e.subject[:0], e.lead...), m.Topic)
	}
	if len(e.subject)+len(m.Reply) > SubjectBytesMax {
		return nil, longSubject
	}
	e.value = e.appendTG(e.value[:0], m)
	e.one[0] = borrow(e.value)
	size := headerFrame + len(headerTG) + headerLine + len(e.value)
	e.msg = nats.Msg{Subject: borrow(e.subject), Reply: borrow(m.Reply), Header: e.header, Data: m.Payload}
	if e.plain = m.Fields.none(); !e.plain {
		clear(e.rich)
		e.rich[headerTG] = e.one[:]
		e.msg.Header = e.rich
		size += e.addFields(&m.Fields)
	}
	if e.id != "" {
		size += len(headerMsgID) + headerLine + len(e.id)
	}
	if e.expect != "" {
		size += len(headerExpectStream) + headerLine + len(e.expect)
	}
	e.headBytes = size
	switch {
	case size > HeaderBytesMax:
		return nil, longHeader
	case payloadMax > 0 && size+len(m.Payload) > payloadMax:
		return nil, longPayload
	}
	return &e.msg, fits
}

func (e *encoder) appendTG(dst []byte, m *Message) []byte {
	dst = append(dst, '0'+m.QoS)
	if m.Retain {
		dst = append(dst, 'r')
	}
	if m.Stored {
		dst = append(dst, 'd')
	}
	if len(m.ClientID) > 0 {
		dst = appendEscaped(append(dst, " c="...), m.ClientID, wordPlain)
	}
	if e.user && len(m.User) > 0 {
		dst = appendEscaped(append(dst, " u="...), m.User, wordPlain)
	}
	dst = append(dst, e.node...)
	if m.Stored {
		dst = append(dst, e.site...)
	}
	if e.packet != 0 {
		dst = strconv.AppendUint(append(dst, " p="...), uint64(e.packet), 10)
	}
	return dst
}

// addFields sets the headers of the fields and returns the bytes they add to the header block.
func (e *encoder) addFields(f *Fields) (size int) {
	set := func(name, value string) {
		e.rich[name] = append(e.rich[name], value)
		size += len(name) + headerLine + len(value)
	}
	if f.HasFormat {
		set(headerFormat, strconv.Itoa(int(f.Format)))
	}
	if f.ContentType != nil {
		set(headerType, string(appendEscaped(nil, f.ContentType, textPlain)))
	}
	if len(f.ResponseTopic) > 0 {
		if Reserved(f.ResponseTopic) {
			e.count.outBadFields.Add(1)
		} else {
			set(headerResponse, string(AppendSubject(nil, f.ResponseTopic)))
		}
	}
	if f.CorrelationData != nil {
		set(headerCorrelation, base64.StdEncoding.EncodeToString(f.CorrelationData))
	}
	if f.HasExpiry {
		set(headerExpiry, strconv.FormatUint(uint64(f.ExpirySec), 10))
	}
	for i := range f.Users {
		v := append(appendEscaped(nil, f.Users[i].Name, namePlain), '=')
		set(headerUser, string(appendEscaped(v, f.Users[i].Value, textPlain)))
	}
	return size
}

// borrow is p as a string without a copy; it lives as long as p is not written.
func borrow(p []byte) string {
	return unsafe.String(unsafe.SliceData(p), len(p))
}

// Fits tells whether NATS can take a message: its subject, its headers, and with them its payload within the server's max_payload (0 before
// the first connection: not checked). Safe from any goroutine, never blocks. It costs nothing worth counting for a message that is well below the
// limits.
func (b *Bus) Fits(m *Message) bool {
	most := b.Status().MaxPayloadBytes
	if m.Fields.none() && len(m.Topic) <= SubjectBytesMax/4-len(m.Reply) && len(m.Topic) > 0 && !Reserved(m.Topic) {
		// Escaping makes three bytes of one at most; a level of one byte "*" becomes four with its separator.
		head := headerFrame + 64 + len(b.options.site()) + 3*(len(m.ClientID)+len(m.User)+len(b.options.Node))
		if head <= HeaderBytesMax && (most == 0 || head+len(m.Payload) <= most) {
			return true
		}
	}
	_, v := newEncoder(b).encode(m, most)
	return v == fits
}
