package command

import (
	"encoding/base64"
	"encoding/json"
)

// Encoding is how commands are written.
type Encoding uint8

const (
	JSON Encoding = iota // tidegate.json.v1
	CBOR                 // tidegate.bin.v1
)

// Op is what a command asks for.
type Op uint8

const (
	None Op = iota
	Connect
	Publish
	Subscribe
	Unsubscribe
	Ack
	Request
	Reply
	Presence
	Refresh
	Ping
)

var ops = map[string]Op{
	"connect": Connect, "publish": Publish, "subscribe": Subscribe, "unsubscribe": Unsubscribe, "ack": Ack,
	"request": Request, "reply": Reply, "presence": Presence, "refresh": Refresh, "ping": Ping,
}

// Bounds on what one frame may ask for.
const (
	BatchMax      = 64   // commands in an array
	AcksMax       = 1024 // numbers in one ack
	PropertiesMax = 32
	idMax         = 1<<53 - 1 // the whole numbers of a browser
	depthMax      = 8         // nesting of CBOR
)

// Command is one command of a device, with defaults in place of what it left out.
type Command struct {
	ID uint64 // 0: none
	Op Op
	// Bad is why nothing else but ID can be relied on; nil: all is well.
	Bad *Error

	Topic, Filter, Call string
	Payload             []byte
	QoS                 uint8 // 0 or 1
	Retain              bool
	ExpirySec           uint32 // valid with HasExpiry
	HasExpiry           bool
	ContentType         string
	Properties          [][]string // pairs

	NoLocal, RetainAsPublished bool
	RetainHandling             uint8 // 0 to 2
	Presence                   bool  // of subscribe

	Acks      []uint16
	TimeoutMS uint32 // 0: the usual

	Session, Token string
	ResumeSec      uint32
	Inflight       uint16 // 0: as many as the gateway likes
	DownQoS        uint8  // 0 or 1
	Batch          bool
}

// fields is a command as it is written. A pointer tells what was not given.
type fields struct {
	ID     uint64 `json:"id"`
	Op     string `json:"op"`
	Topic  string `json:"topic"`
	Filter string `json:"filter"`
	Call   string `json:"call"`

	JSON   json.RawMessage `json:"json" cbor:"-"` // no pointer: null is a value
	Text   *string         `json:"text"`
	Base64 *string         `json:"base64" cbor:"-"`
	Data   *data           `json:"data"`
	// What the other encoding has, so that it is refused rather than published as nothing.
	ForeignJSON   *foreign `json:"-" cbor:"json"`
	ForeignBase64 *foreign `json:"-" cbor:"base64"`

	QoS         *uint8     `json:"qos"`
	Retain      bool       `json:"retain"`
	Expiry      *uint32    `json:"expiry_s"`
	ContentType string     `json:"content_type"`
	Properties  properties `json:"properties"`

	NoLocal           bool  `json:"no_local"`
	RetainAsPublished bool  `json:"retain_as_published"`
	RetainHandling    uint8 `json:"retain_handling"`
	Presence          bool  `json:"presence"`

	Ack     uint16   `json:"ack"`
	Acks    []uint16 `json:"acks"`
	Timeout uint32   `json:"timeout_ms"`

	Session  string  `json:"session"`
	Token    string  `json:"token"`
	Resume   uint32  `json:"resume_s"`
	Inflight *uint16 `json:"inflight"`
	DownQoS  *uint8  `json:"down_qos"`
	Batch    bool    `json:"batch"`
}

// command is what the fields mean; err is what the decoder found wrong.
func (f *fields) command(err *Error) Command {
	c := Command{
		ID: f.ID, Op: ops[f.Op], Topic: f.Topic, Filter: f.Filter, Call: f.Call, Retain: f.Retain, ContentType: f.ContentType,
		Properties: f.Properties, NoLocal: f.NoLocal, RetainAsPublished: f.RetainAsPublished, RetainHandling: f.RetainHandling,
		Presence: f.Presence, Acks: f.Acks, TimeoutMS: f.Timeout, Session: f.Session, Token: f.Token, ResumeSec: f.Resume,
		DownQoS: 1, Batch: f.Batch,
	}
	if c.ID > idMax {
		c.ID = 0
	}
	if c.Op == Subscribe {
		c.QoS = 1
	}
	if f.QoS != nil {
		c.QoS = *f.QoS
	}
	if f.DownQoS != nil {
		c.DownQoS = *f.DownQoS
	}
	if f.Inflight != nil {
		c.Inflight = *f.Inflight
	}
	if f.Expiry != nil {
		c.ExpirySec, c.HasExpiry = *f.Expiry, true
	}
	if f.Ack != 0 {
		c.Acks = append([]uint16{f.Ack}, c.Acks...)
	}
	if c.Bad = err; err == nil {
		c.Bad = f.check(&c)
	}
	if c.Bad == nil {
		c.Payload, c.Bad = f.payload()
	}
	return c
}

func (f *fields) check(c *Command) *Error {
	switch {
	case c.Op == None:
		return ErrCommand
	case c.ID == 0 && (f.ID != 0 || !mayBeSilent(c)):
		return ErrID
	case c.QoS > 1:
		return Field("qos", "0 or 1")
	case c.DownQoS > 1:
		return Field("down_qos", "0 or 1")
	case c.RetainHandling > 2:
		return Field("retain_handling", "0, 1 or 2")
	case f.Inflight != nil && *f.Inflight == 0:
		return Field("inflight", "1 to 65535")
	case c.Op == Ack && len(c.Acks) == 0:
		return Field("ack", "1 to 65535")
	case len(c.Acks) > AcksMax:
		return Field("acks", "up to 1024 numbers")
	case len(c.Properties) > PropertiesMax:
		return Field("properties", "up to 32 pairs")
	}
	for _, p := range c.Properties {
		if len(p) != 2 {
			return Field("properties", "pairs of name and value")
		}
	}
	return nil
}

// mayBeSilent tells whether a command may go without id, and so without an answer when all is well.
func mayBeSilent(c *Command) bool {
	return c.Op == Ack || c.Op == Reply || c.Op == Publish && c.QoS == 0
}

// payload is the bytes that a command carries.
func (f *fields) payload() ([]byte, *Error) {
	given, payload := 0, []byte(nil)
	if f.JSON != nil {
		given, payload = given+1, f.JSON
	}
	if f.Text != nil {
		given, payload = given+1, []byte(*f.Text)
	}
	if f.Data != nil {
		given, payload = given+1, *f.Data
	}
	if f.Base64 != nil {
		var err error
		if payload, err = base64.StdEncoding.DecodeString(*f.Base64); err != nil {
			return nil, ErrPayload
		}
		given++
	}
	if given > 1 || f.ForeignJSON != nil || f.ForeignBase64 != nil {
		return nil, ErrPayload
	}
	return payload, nil
}
