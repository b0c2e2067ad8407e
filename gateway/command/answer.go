package command

// Limits is what a device is held to, as it is told.
type Limits struct {
	PacketBytes, TopicBytes, Subscriptions, Requests, Inflight int
}

// Connected is the answer to connect.
type Connected struct {
	Client    string
	Session   []byte
	Resumed   bool
	ResumeSec uint32
	PingSec   uint32
	TokenSec  uint32 // valid with HasToken
	HasToken  bool
	Limits    Limits
}

// AppendConnected appends the answer to connect.
func AppendConnected(dst []byte, enc Encoding, id uint64, a *Connected) []byte {
	w := ok(dst, enc, id)
	text(&w, "client", a.Client)
	text(&w, "session", a.Session)
	w.bool("resumed", a.Resumed)
	w.uint("resume_s", uint64(a.ResumeSec))
	w.uint("ping_s", uint64(a.PingSec))
	if a.HasToken {
		w.uint("token_s", uint64(a.TokenSec))
	}
	l := w.nest("limits")
	l.uint("packet_bytes", uint64(a.Limits.PacketBytes))
	l.uint("topic_bytes", uint64(a.Limits.TopicBytes))
	l.uint("subscriptions", uint64(a.Limits.Subscriptions))
	l.uint("requests", uint64(a.Limits.Requests))
	l.uint("inflight", uint64(a.Limits.Inflight))
	l.uint("batch", BatchMax)
	w.unnest(&l)
	return w.end()
}

func ok(dst []byte, enc Encoding, id uint64) writer {
	w := begin(dst, enc)
	w.uint("id", id)
	w.bool("ok", true)
	return w
}

// AppendOK appends the answer to a command that has nothing more to tell.
func AppendOK(dst []byte, enc Encoding, id uint64) []byte {
	w := ok(dst, enc, id)
	return w.end()
}

// AppendRefreshed appends the answer to refresh: how many seconds the token is good for.
func AppendRefreshed(dst []byte, enc Encoding, id uint64, tokenSec uint32) []byte {
	w := ok(dst, enc, id)
	w.uint("token_s", uint64(tokenSec))
	return w.end()
}

// AppendResponse appends the answer to a request: what the backend said.
func AppendResponse(dst []byte, enc Encoding, id uint64, payload []byte) []byte {
	w := ok(dst, enc, id)
	w.payload(payload, FormUnknown)
	return w.end()
}

// AppendPresence appends the answer to presence; more: there are others than clients.
func AppendPresence(dst []byte, enc Encoding, id uint64, count int, clients []string, more bool) []byte {
	w := ok(dst, enc, id)
	w.uint("count", uint64(count))
	w.list("clients", len(clients))
	for i, c := range clients {
		w.separate(i)
		item(&w, c)
	}
	w.unlist()
	w.flag("more", more)
	return w.end()
}

// AppendError appends the answer to a command that failed; id 0: it has none.
func AppendError(dst []byte, enc Encoding, id uint64, e *Error) []byte {
	w := begin(dst, enc)
	if id != 0 {
		w.uint("id", id)
	}
	in := w.nest("error")
	text(&in, "code", e.Code)
	text(&in, "message", e.Message)
	in.bool("temporary", e.Temporary)
	if e.RetryMS > 0 {
		in.uint("retry_ms", uint64(e.RetryMS))
	}
	w.unnest(&in)
	return w.end()
}
