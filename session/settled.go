package session

// Settled says that a device acknowledged a message, or could not take it.
type Settled struct {
	Request uint32 // Message.Request
	Reason  uint8  // of PUBACK or PUBREC, or 0x95; 0x80 and more is a failure
}

// settle tells of an entry that ends, or has been received, with reason.
func (o *Out) settle(e *entry, reason uint8) {
	if e.kept != nil && e.kept.msg.Request != 0 {
		o.Settled = append(o.Settled, Settled{e.kept.msg.Request, reason})
	}
}
