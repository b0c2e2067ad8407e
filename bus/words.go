package bus

// requestSubject is where the gateways on one NATS tell each other about requests (Hear and Tell are for claims): reserved, as all of _TG is.
const requestSubject = "_TG.requests"

// HearRequests is Hear for what other gateways tell with TellRequests.
func (b *Bus) HearRequests(hear func(p []byte)) error { return b.hear(b.words, hear) }

// TellRequests is Tell for words about requests.
func (b *Bus) TellRequests(p []byte) error { return b.tell(requestSubject, p) }
