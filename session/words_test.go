package session

import (
	"fmt"
	"strings"
)

// words is out, a line an effect.
func words(who string, o *Out) (lines []string) {
	add := func(format string, v ...any) { lines = append(lines, fmt.Sprintf(format, v...)) }
	if o.Evict != 0 {
		add("evict %d", o.Evict)
	}
	for i := range o.Sends {
		add("%s%s", who, o.Sends[i].words())
	}
	for _, m := range o.Publishes {
		from := ""
		if m.From != nil {
			from = " from=" + m.From.id
		}
		add("route %s%s", m.words(), from)
	}
	for _, in := range o.Interests {
		name := in.Sub.Filter
		if in.Sub.Share != "" {
			name = sharePrefix + in.Sub.Share + "/" + name
		}
		switch {
		case in.LiveChange != 0:
			add("member %+d %s %s", in.LiveChange, in.Sub.session.id, name)
		case in.Gained:
			add("gained %s %s live=%v", in.Sub.session.id, name, in.Live)
		default:
			add("lost %s %s live=%v", in.Sub.session.id, name, in.Live)
		}
	}
	for _, rp := range o.Replays {
		add("%sreplay %s qos=%d rap=%v id=%d", who, rp.Filter, rp.Sub.QoS, rp.Sub.RetainAsPublished, rp.Sub.ID)
	}
	for reason, n := range o.Drops {
		if n > 0 {
			add("%sdrop %s %d", who, DropReason(reason), n)
		}
	}
	for _, s := range o.Records {
		add("record of %s is out of date, gone=%v", s.id, s.Gone())
	}
	for _, id := range o.Releases {
		add("%srelease %d", who, id)
	}
	for _, is := range []struct {
		what string
		so   bool
	}{{"save", o.Save}, {"behind", o.Behind}, {"full", o.Full}} {
		if is.so {
			add("%s%s", who, is.what)
		}
	}
	if o.Close {
		add("%sclose 0x%02X", who, o.CloseReason)
	}
	return lines
}

func (sd *Send) words() string {
	b := sd.Kind.String()
	if sd.Kind != SendPublish || sd.QoS > 0 {
		b += fmt.Sprintf(" %d", sd.PacketID)
	}
	switch {
	case sd.Reasons != nil:
		for _, c := range sd.Reasons {
			b += fmt.Sprintf(" 0x%02X", c)
		}
	case sd.Reason != 0:
		b += fmt.Sprintf(" reason=0x%02X", sd.Reason)
	}
	if sd.Kind != SendPublish {
		return b
	}
	b += fmt.Sprintf(" %s %s qos=%d", sd.Msg.Topic, sd.Msg.Payload, sd.QoS)
	if sd.Dup {
		b += " dup"
	}
	if sd.Retain {
		b += " retain"
	}
	if sd.HasExpiry {
		b += fmt.Sprintf(" expiry=%d", sd.ExpirySec)
	}
	if len(sd.SubIDs) > 0 {
		b += fmt.Sprintf(" ids=%v", sd.SubIDs)
	}
	if len(sd.Msg.Props) > 0 {
		b += fmt.Sprintf(" props=%s", sd.Msg.Props)
	}
	return b
}

func (m *Message) words() string {
	b := fmt.Sprintf("%s %s qos=%d", m.Topic, m.Payload, m.QoS)
	if m.Retain {
		b += " retain"
	}
	if m.ExpiresAtSec != 0 {
		b += fmt.Sprintf(" until=%d", m.ExpiresAtSec)
	}
	if m.LastValue {
		b += " last"
	}
	return b
}

// naiveMatch says whether filter matches topic, word for word from MQTT 5, 4.7.
func naiveMatch(filter, topic string) bool {
	f, n := strings.Split(filter, "/"), strings.Split(topic, "/")
	if strings.HasPrefix(topic, "$") && (f[0] == "+" || f[0] == "#") {
		return false
	}
	for i, level := range f {
		if level == "#" {
			return true
		}
		if i >= len(n) || level != "+" && level != n[i] {
			return false
		}
	}
	return len(f) == len(n)
}
