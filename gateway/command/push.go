package command

// Property is a name and a value that travel with a message.
type Property struct{ Name, Value []byte }

// Message is a message to a device, or a request of a backend if Call is not empty. Its slices are borrowed until AppendMessage returns.
type Message struct {
	Topic, Call, Payload, ContentType []byte
	Properties                        []Property
	Ack                               uint16 // 0: QoS 0
	Dup, Retain, HasExpiry            bool
	ExpirySec                         uint32
	Form                              Form // of Payload, if it is known
}

// AppendMessage appends a message.
func AppendMessage(dst []byte, enc Encoding, m *Message) []byte {
	w := begin(dst, enc)
	if len(m.Call) > 0 {
		text(&w, "op", "request")
		text(&w, "topic", m.Topic)
		text(&w, "call", m.Call)
	} else {
		text(&w, "op", "message")
		text(&w, "topic", m.Topic)
	}
	if m.Ack != 0 {
		w.uint("ack", uint64(m.Ack))
	}
	w.flag("dup", m.Dup)
	w.flag("retain", m.Retain)
	if m.HasExpiry {
		w.uint("expiry_s", uint64(m.ExpirySec))
	}
	if len(m.ContentType) > 0 {
		text(&w, "content_type", m.ContentType)
	}
	if len(m.Properties) > 0 {
		w.list("properties", len(m.Properties))
		for i := range m.Properties {
			w.separate(i)
			w.pair(&m.Properties[i])
		}
		w.unlist()
	}
	w.payload(m.Payload, m.Form)
	return w.end()
}

func (w *writer) pair(p *Property) {
	if w.cbor {
		w.dst = appendHead(w.dst, majorArray, 2)
	} else {
		w.dst = append(w.dst, '[')
	}
	item(w, p.Name)
	w.separate(1)
	item(w, p.Value)
	w.unlist()
}

// AppendPresenceChange appends that a client joined those who hold a filter, or left them; nothing of either if client is empty.
// missed: changes before it were not told.
func AppendPresenceChange(dst []byte, enc Encoding, filter, client string, joined, missed bool) []byte {
	w := begin(dst, enc)
	text(&w, "op", "presence")
	text(&w, "filter", filter)
	switch {
	case client == "":
	case joined:
		text(&w, "joined", client)
	default:
		text(&w, "left", client)
	}
	w.flag("missed", missed)
	return w.end()
}

// Run gathers what is to go in one frame: append each item to Next, and give the result to Keep. The zero value is empty.
type Run struct {
	items []byte
	n     int
}

// Next is where the next item is appended.
func (r *Run) Next(enc Encoding) []byte {
	if enc == JSON && r.n > 0 {
		return append(r.items, ',')
	}
	return r.items
}

// Keep takes Next with an item appended.
func (r *Run) Keep(items []byte) {
	r.items = items
	r.n++
}

// Len is how many items there are.
func (r *Run) Len() int { return r.n }

// Bytes is how long they are.
func (r *Run) Bytes() int { return len(r.items) }

// Cap is how much memory the run holds.
func (r *Run) Cap() int { return cap(r.items) }

// AppendTo appends the items, as an array, or as it is if there is a single one and bare. The run is empty then.
func (r *Run) AppendTo(dst []byte, enc Encoding, bare bool) []byte {
	switch {
	case bare && r.n == 1:
		dst = append(dst, r.items...)
	case enc == CBOR:
		dst = append(appendHead(dst, majorArray, uint64(r.n)), r.items...)
	default:
		dst = append(append(append(dst, '['), r.items...), ']')
	}
	r.items, r.n = r.items[:0], 0
	return dst
}
