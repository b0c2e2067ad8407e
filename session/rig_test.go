package session

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// rig runs a conversation, a text in which a line is a command and the lines after it that begin with ">" are what
// it must yield:
//
//	limits inflight=2 queue=3 policy=newest    a new, empty table
//	at 100                                     the clock
//	tick
//	open pump-7 clean v=5 expiry=60 receive=2 will=t/gone delay=5
//	pump-7 subscribe 1 t/x:1 +/y:2,nl,rap,rh=1 subid=7
//	pump-7 publish 5 t/x hello qos=1           packet id, topic, payload
//	pump-7 lost
//	message t/x hello qos=1 from=pump-7        Match and Group, then Deliver to each, by client id
//	redeliver 5                                TakeOrphans, then each to its group again
//	elsewhere $share/g/t/x on                  Limits.GroupLive says yes
//	show pump-7
//	save pump-7                                AppendRecord, shown in words and stored
//	kill                                       the table is gone, the stored records are not; the clock begins anew
//	restore pump-7 received=4,5                as open, from the stored record
//	forget pump-7
//	seen pump-7 12, caughtup pump-7            SeenUpTo, CaughtUp; streams other than the log as stream=1
//	log pump-7 12                              LogIsAt
//
// A command after "~" yields nothing: it prepares what the conversation is about.
type rig struct {
	table  *Table
	nowSec uint32
	owners uint64
	out    Out
	lines  []string
	seen   map[string]*Session // also those that are gone
	groups map[string]uint32   // interest ids given to shared groups
	others map[uint32]bool     // which of them have live members in another table
	store  map[string][]byte   // records, by client id
	began  uint32              // of the table's clock, since 1970
}

func newRig(l Limits) *rig {
	others := map[uint32]bool{}
	l.GroupLive = func(interest uint32) bool { return others[interest] }
	return &rig{table: NewTable(&l), nowSec: 1, seen: map[string]*Session{}, groups: map[string]uint32{}, others: others,
		store: map[string][]byte{}, began: 1_700_000_000}
}

// check runs a conversation and fails at the first difference.
func check(t *testing.T, text string) {
	t.Helper()
	want := trimLines(text)
	if got := converse(t, text); got != want {
		t.Fatalf("conversation differs\n%s", diff(want, got))
	}
}

// trimLines is text without indentation.
func trimLines(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	return strings.Join(lines, "\n")
}

// diff shows the first line that differs, with what led to it.
func diff(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range max(len(w), len(g)) {
		a, b := "(end)", "(end)"
		if i < len(w) {
			a = w[i]
		}
		if i < len(g) {
			b = g[i]
		}
		if strings.TrimSpace(a) != strings.TrimSpace(b) {
			return fmt.Sprintf("%s\nwant: %s\n got: %s", strings.Join(g[max(0, i-6):min(i, len(g))], "\n"), a, b)
		}
	}
	return "white space only"
}

// converse runs the commands of text and returns it with what they yielded.
func converse(t *testing.T, text string) string {
	t.Helper()
	r := newRig(Limits{})
	var b strings.Builder
	for line := range strings.SplitSeq(strings.TrimSpace(text), "\n") {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, ">") {
			continue
		}
		b.WriteString(line + "\n")
		if line == "" || line[0] == '#' {
			continue
		}
		r.lines = nil
		r.command(t, strings.TrimPrefix(line, "~"))
		if line[0] == '~' {
			r.lines = nil
		}
		for _, l := range r.lines {
			b.WriteString("> " + l + "\n")
		}
		if err := invariants(r.table); err != nil {
			t.Fatalf("after %q: %v", line, err)
		}
	}
	return strings.TrimSpace(b.String())
}

// args are the words of a command: bare ones in order, and name=value or flags by name.
type args struct {
	t     *testing.T
	words []string
	named map[string]string
}

var flags = []string{"clean", "dup", "retain", "normal", "congested", "congest", "keepqos0", "willretain", "last", "durable", "replay",
	"logged", "gone"}

func parseArgs(t *testing.T, line string) *args {
	a := &args{t: t, named: map[string]string{}}
	for _, w := range strings.Fields(line) {
		name, value, ok := strings.Cut(w, "=")
		switch {
		case ok && !strings.ContainsAny(name, "/:+#"):
			a.named[name] = value
		case slices.Contains(flags, w):
			a.named[w] = "1"
		default:
			a.words = append(a.words, w)
		}
	}
	return a
}

func (a *args) has(name string) bool { _, ok := a.named[name]; return ok }

func (a *args) word(i int) string {
	if i >= len(a.words) {
		a.t.Fatalf("command lacks word %d: %v", i, a.words)
	}
	return a.words[i]
}

func (a *args) num(name string, otherwise uint32) uint32 {
	if v, ok := a.named[name]; ok {
		return a.parse(v)
	}
	return otherwise
}

func (a *args) parse(v string) uint32 {
	if v == "never" {
		return Never
	}
	n, err := strconv.ParseInt(v, 0, 64)
	if err != nil {
		a.t.Fatalf("not a number: %q", v)
	}
	return uint32(n)
}

func (r *rig) command(t *testing.T, line string) {
	t.Helper()
	a := parseArgs(t, line)
	switch a.word(0) {
	case "limits":
		*r = *newRig(a.limits())
	case "at":
		r.nowSec = a.parse(a.word(1))
	case "tick":
		r.table.Tick(r.nowSec, &r.out)
		r.flush("")
	case "open", "restore":
		r.open(a)
	case "save", "kill", "forget", "seen", "log", "caughtup":
		r.recordCommand(t, a)
	case "message":
		r.message(a)
	case "redeliver":
		r.redeliver(t, int(a.parse(a.word(1))))
	case "elsewhere":
		r.others[r.groups[a.word(1)]] = a.word(2) == "on"
	case "show":
		r.show(a.word(1))
	default:
		s := r.seen[a.word(0)]
		if s == nil {
			t.Fatalf("no session for %q", line)
		}
		ev := a.event()
		r.step(s, &ev)
	}
}

func (a *args) limits() Limits {
	l := Limits{
		QueueCountMax: int(int32(a.num("queue", 0))), QueueBytesMax: int(a.num("bytes", 0)), QueueQoS0: a.has("keepqos0"),
		InflightMax: uint16(a.num("inflight", 0)), ReceiveMax: uint16(a.num("receive", 0)), ReceiveMaxV3: uint16(a.num("receive3", 0)),
		SubscriptionsMax: int(a.num("subs", 0)), ExpiryMaxSec: a.num("expirymax", 0), SessionsMax: int(a.num("sessions", 0)),
	}
	l.QueuePolicy = map[string]QueuePolicy{"": DropOldest, "oldest": DropOldest, "newest": DropNewest, "disconnect": Disconnect}[a.named["policy"]]
	strategy, ok := ParseStrategy(a.named["strategy"])
	if a.has("strategy") && !ok {
		a.t.Fatalf("no such strategy: %q", a.named["strategy"])
	}
	l.Strategy = strategy
	return l
}

func (r *rig) open(a *args) {
	r.owners++
	id := a.word(1)
	c := Connect{ClientID: []byte(id), CleanStart: a.has("clean"), Version: uint8(a.num("v", 5)),
		ExpirySec: a.num("expiry", 0), ReceiveMax: uint16(a.num("receive", 0))}
	if topic, ok := a.named["will"]; ok {
		c.Will = &Will{DelaySec: a.num("delay", 0), ExpirySec: a.num("willexpiry", 0), HasExpiry: a.has("willexpiry"),
			Message: Message{Topic: []byte(topic), Payload: []byte("gone"), QoS: uint8(a.num("willqos", 0)), Retain: a.has("willretain")}}
	}
	c.Durable = a.has("durable")
	owner := uint64(a.num("owner", uint32(r.owners)))
	var s *Session
	var present bool
	if a.word(0) == "restore" {
		s, present = r.restore(a, &c, owner)
	} else {
		s, present = r.table.Open(r.nowSec, &c, owner, &r.out)
	}
	switch {
	case s == nil:
		r.say("refused")
	case present:
		r.say("session present")
	default:
		r.say("session new")
	}
	if s != nil {
		r.seen[id] = s
	}
	r.flush("")
}

// event reads an event for one session.
func (a *args) event() Event {
	ev := Event{Reason: uint8(a.num("reason", 0)), Dup: a.has("dup"), QoS: uint8(a.num("qos", 0)), Retain: a.has("retain"),
		Congested: a.has("congested"), Replay: a.has("replay"), Logged: a.has("logged"), Token: a.num("token", 0), SubID: a.num("subid", 0), Owner: uint64(a.num("owner", 0))}
	for k := Publish; k < kinds; k++ {
		if k.String() == a.word(1) {
			ev.Kind = k
		}
	}
	switch ev.Kind {
	case 0:
		a.t.Fatalf("no such event: %v", a.words)
	case Resume, Drained, Saved:
	case Refill:
		ev.Stream, ev.Seq = uint16(a.num("stream", 0)), uint64(a.num("seq", 0))
		if !a.has("gone") {
			ev.Msg = a.msg(2)
		}
	case Lost:
		ev.KeepWill, ev.SetExpiry, ev.ExpirySec = !a.has("normal"), a.has("expiry"), a.num("expiry", 0)
	case Deliver:
		ev.Msg = a.msg(2)
	case Publish:
		ev.PacketID, ev.Msg = uint16(a.parse(a.word(2))), a.msg(3)
	default:
		ev.PacketID = uint16(a.parse(a.word(2)))
		for _, f := range a.words[3:] {
			ev.Filters = append(ev.Filters, a.filter(f))
		}
	}
	return ev
}

// msg reads a topic and a payload from the i-th word on.
func (a *args) msg(i int) *Message {
	return &Message{Topic: []byte(a.word(i)), Payload: []byte(a.word(i + 1)), QoS: uint8(a.num("qos", 0)),
		Retain: a.has("retain"), ExpiresAtSec: a.num("until", 0), Props: []byte(a.named["props"]), LastValue: a.has("last"),
		GroupKey: a.num("key", 0), Seq: uint64(a.num("seq", 0)), Stream: uint16(a.num("stream", 0))}
}

// filter reads filter:qos,nl,rap,rh=1,refuse.
func (a *args) filter(word string) Filter {
	topic, options, _ := strings.Cut(word, ":")
	f := Filter{Topic: []byte(topic)}
	if a.has("since") {
		f.Since = []uint64{uint64(a.num("since", 0))}
	}
	for o := range strings.SplitSeq(options, ",") {
		switch o {
		case "", "0":
		case "1", "2":
			f.QoS = o[0] - '0'
		case "nl":
			f.NoLocal = true
		case "rap":
			f.RetainAsPublished = true
		case "rh=1", "rh=2":
			f.RetainHandling = o[3] - '0'
		case "refuse":
			f.Refuse = 0x87
		default:
			a.t.Fatalf("no such option: %q", o)
		}
	}
	return f
}

// message routes one as the caller does: to every match, and to one member of each shared group that matches.
func (r *rig) message(a *args) {
	m := a.msg(1)
	m.From = r.seen[a.named["from"]]
	var ms Matches
	if to := r.seen[a.named["to"]]; to != nil {
		to.Match(m, &ms) // of a replay
	} else {
		r.table.Match(m.Topic, m.From, &ms)
	}
	slices.SortFunc(ms.List, func(x, y Match) int { return strings.Compare(x.Session.id, y.Session.id) })
	for i := range ms.List {
		to := &ms.List[i]
		r.step(to.Session, &Event{Kind: Deliver, Msg: m, QoS: to.QoS, SubIDs: to.SubIDs,
			Retain: m.Retain && to.RetainAsPublished, Congested: a.has("congested"), Replay: a.has("to")})
	}
	names := make([]string, 0, len(r.groups))
	for name := range r.groups {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		g := r.table.Group(r.groups[name])
		if g == nil || !naiveMatch(g.subs[0].Filter, string(m.Topic)) {
			continue
		}
		r.give(g.Next(m.GroupKey), &Event{Kind: Deliver, Msg: m, Congested: a.has("congested")})
	}
}

// give delivers a message to a member of a group.
func (r *rig) give(sub *Subscription, ev *Event) {
	ev.QoS, ev.Group = sub.QoS, sub.Interest
	if sub.ID != 0 {
		ev.SubIDs = []uint32{sub.ID}
	}
	r.step(sub.Session(), ev)
}

// redeliver takes n orphans and gives each to its group; one that nobody takes is said to go elsewhere.
func (r *rig) redeliver(t *testing.T, n int) {
	var taken Out
	r.table.TakeOrphans(n, 1<<20, &taken)
	for _, o := range taken.Orphans {
		if g := r.table.Group(o.Group); g != nil && (g.Live() > 0 || !r.others[o.Group]) {
			r.give(g.Next(o.Msg.GroupKey), &Event{Kind: Deliver, Msg: o.Msg, Orphan: true})
		} else {
			r.say("elsewhere %s", o.Msg.words())
		}
	}
	taken.Reset()
	if n := r.table.Orphans(); n > 0 {
		r.say("%d more", n)
	}
}

func (r *rig) step(s *Session, ev *Event) {
	s.Step(r.nowSec, ev, &r.out)
	r.flush(s.id + " ")
}

func (r *rig) show(id string) {
	s := r.table.Get([]byte(id))
	if s == nil {
		r.say("no session")
		return
	}
	if n := r.table.Orphans(); n > 0 {
		r.say("orphans=%d", n)
	}
	r.say("%s owner=%d version=%d expiry=%d subs=%d inflight=%d queued=%d pending=%v unaccepted=%d",
		[]string{"", "live", "detached", "gone"}[s.state], s.Owner(), s.Version(), int32(s.ExpirySec()), s.Subscriptions(),
		s.Inflight(), s.Queued(), s.Pending(), s.Unaccepted())
	if s.Durable() {
		r.say("cursor=%d floor=%d behind=%v hungry=%v changed=%v saved=%v rest=%v", s.Cursor(0), s.Floor(0), s.Behind(), s.Hungry(), s.Changed(),
			s.SavedBy() == 0, s.AtRest())
	}
	s.EachRefill(func(stream uint16, seq uint64) bool {
		r.say("lacks %d of stream %d", seq, stream)
		return true
	})
}

func (r *rig) say(format string, v ...any) { r.lines = append(r.lines, fmt.Sprintf(format, v...)) }

// flush applies the effects as a caller would, in words.
func (r *rig) flush(who string) {
	for _, in := range r.out.Interests {
		if in.Sub.Share != "" && in.Gained {
			name := sharePrefix + in.Sub.Share + "/" + in.Sub.Filter
			if r.groups[name] == 0 {
				r.groups[name] = uint32(len(r.groups) + 1)
			}
			in.Sub.Interest = r.groups[name]
		}
	}
	r.lines = append(r.lines, words(who, &r.out)...)
	r.out.Reset()
}
