package session

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

var (
	modelEvents = flag.Int("model.events", 20000, "how many random events TestModel lives through")
	modelSeed   = flag.Uint64("model.seed", 0, "seed of TestModel; 0 takes a new one")
)

// fleet is a table and its model, living the same random life.
type fleet struct {
	rnd    *rand.Rand
	table  *Table
	model  *modelTable
	now    uint32
	owners uint64
	token  uint32
	out    Out
	taken  Out      // orphans that are being given to their groups
	shown  []string // what out said event by event, to be read again before Reset
	log    []string
	groups map[string]uint32
	turns  map[uint32]*turns // by group
	due    []accept
	reach  map[string]int // how often each kind of effect was seen
}

// accept is an answer to a PUBLISH that is still to come, maybe for an older life of the session.
type accept struct {
	s  *Session
	ev Event
}

var (
	fleetFilters = []string{"a", "b", "a/b", "a/+", "+/b", "#", "a/#", "+", "+/+", "$x/#", "$share/g/a", "$share/g/a/+", "$share/h/a/+", "$share/g/#"}
	fleetTopics  = []string{"a", "b", "a/b", "a/c", "c/b", "$x/a", "a/b/c"}
)

func newFleet(rnd *rand.Rand) *fleet {
	l := Limits{QueueCountMax: 1 + rnd.IntN(5), QueueBytesMax: 10 + rnd.IntN(40), QueuePolicy: QueuePolicy(rnd.IntN(3)),
		QueueQoS0: rnd.IntN(2) == 0, InflightMax: uint16(1 + rnd.IntN(4)), ReceiveMax: uint16(1 + rnd.IntN(4)),
		ReceiveMaxV3: uint16(1 + rnd.IntN(6)), SubscriptionsMax: 1 + rnd.IntN(6), ExpiryMaxSec: uint32(5 + rnd.IntN(40)), SessionsMax: rnd.IntN(2) * 4}
	if rnd.IntN(8) == 0 {
		l.QueueCountMax = -1 // nothing waits
	}
	other := l
	other.ReceiveMax, other.SubscriptionsMax = uint16(1+rnd.IntN(int(l.ReceiveMax))), 1+rnd.IntN(6)
	l.Classes = []Limits{other}
	l.Strategy = Strategy(rnd.IntN(int(Strategies)))
	l.GroupStrategies = map[string]Strategy{"h": Strategy(rnd.IntN(int(Strategies)))}
	groups, others := map[string]uint32{}, map[uint32]bool{}
	l.GroupLive = func(interest uint32) bool { return others[interest] }
	return &fleet{rnd: rnd, table: NewTable(&l), groups: groups, turns: map[uint32]*turns{}, now: 1, reach: map[string]int{},
		model: &modelTable{limits: l, sessions: map[string]*modelSession{}, groups: groups, others: others}}
}

// TestModel compares Step with the model over random lives; each life has its own limits.
func TestModel(t *testing.T) {
	seed := *modelSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("-model.seed=%d -model.events=%d", seed, *modelEvents)
	const life = 5000
	reach := map[string]int{}
	for begin := 0; begin < *modelEvents; begin += life {
		f := newFleet(rand.New(rand.NewPCG(seed, uint64(begin))))
		for i := range min(life, *modelEvents-begin) {
			if err := f.live(); err != nil {
				t.Fatalf("seed %d, event %d of the life from %d: %v\n%s", seed, i, begin, err, strings.Join(f.log[max(0, len(f.log)-40):], "\n"))
			}
		}
		for what, n := range f.reach {
			reach[what] += n
		}
	}
	t.Logf("seen: %v", reach)
	for what := range strings.FieldsSeq("publish puback pubrec pubrel pubcomp suback unsuback route gained lost member replay evict close drop orphan redelivered superseded away") {
		if reach[what] == 0 && *modelEvents >= 20000 {
			t.Errorf("no life had a %q", what)
		}
	}
}

// live is one random event, compared in full.
func (f *fleet) live() error {
	if f.rnd.IntN(8) == 0 {
		f.now += uint32(f.rnd.IntN(6))
	}
	switch n := f.rnd.IntN(100); {
	case n < 5:
		return f.open()
	case n < 9:
		return f.tick()
	case n < 14:
		return f.redeliver()
	case n < 15:
		f.model.others[uint32(1+f.rnd.IntN(4))] = f.rnd.IntN(2) == 0
		return nil
	case n < 45:
		return f.message()
	case n < 55 && len(f.due) > 0:
		return f.accepted()
	default:
		return f.device()
	}
}

// same compares what an event yielded, and now and then applies and resets the Out.
func (f *fleet) same(what string, o *modelOut, before *Out) error {
	got, want := outLines(before), o.lines()
	f.log = append(f.log, fmt.Sprintf("[%d] %s\n%s", f.now, what, got))
	if got != want {
		return fmt.Errorf("%s yielded\n%s\nwant\n%s", what, got, want)
	}
	for line := range strings.SplitSeq(got, "\n") {
		word, _, _ := strings.Cut(line, " ")
		f.reach[word]++
	}
	f.reach["superseded"] += int(before.Drops[DropSuperseded])
	return f.sameOrphans()
}

// run lets act work on an Out that may still hold earlier effects, and shows what it added.
func (f *fleet) run(what string, o *modelOut, act func(out *Out)) error {
	sends, routes := len(f.out.Sends), len(f.out.Publishes)
	interests, replays := len(f.out.Interests), len(f.out.Replays)
	drops := f.out.Drops
	f.out.Evict, f.out.Close = 0, false
	act(&f.out)
	added := Out{Sends: f.out.Sends[sends:], Publishes: f.out.Publishes[routes:], Interests: f.out.Interests[interests:],
		Replays: f.out.Replays[replays:], Evict: f.out.Evict, Close: f.out.Close, CloseReason: f.out.CloseReason}
	for r := range drops {
		added.Drops[r] = f.out.Drops[r] - drops[r]
	}
	for _, in := range added.Interests {
		if in.Gained && in.Sub.Share != "" {
			full := sharePrefix + in.Sub.Share + "/" + in.Sub.Filter
			if f.groups[full] == 0 {
				f.groups[full] = uint32(len(f.groups) + 1)
			}
			in.Sub.Interest = f.groups[full]
		}
		if in.Sub.Share != "" {
			f.turn(in.Sub.Interest).changed(&in)
		}
	}
	if err := f.same(what, o, &added); err != nil {
		return err
	}
	for i := range added.Sends {
		f.shown = append(f.shown, added.Sends[i].words())
	}
	if f.rnd.IntN(3) > 0 {
		return nil
	}
	return f.apply()
}

// apply reads what out refers to once more, and resets it.
func (f *fleet) apply() error {
	for i := range f.out.Sends {
		if again := f.out.Sends[i].words(); again != f.shown[i] {
			return fmt.Errorf("effect %d read %q when it came and %q when it was applied", i, f.shown[i], again)
		}
	}
	f.out.Reset()
	f.shown = f.shown[:0]
	return invariants(f.table, &f.taken)
}

func (f *fleet) open() error {
	f.owners++
	c := Connect{ClientID: []byte{byte('a' + f.rnd.IntN(6))}, CleanStart: f.rnd.IntN(8) == 0, Version: uint8(3 + f.rnd.IntN(3)),
		ReceiveMax: uint16(1 + f.rnd.IntN(6)), ExpirySec: uint32(f.rnd.IntN(5) * f.rnd.IntN(30)),
		Class: uint16(f.rnd.IntN(2)), Upgrade: f.rnd.IntN(4) == 0}
	if f.rnd.IntN(2) == 0 {
		c.Will = &Will{DelaySec: uint32(f.rnd.IntN(2) * f.rnd.IntN(20)), Message: Message{Topic: []byte(fleetTopics[f.rnd.IntN(3)]), Payload: []byte("gone"), QoS: 1}}
	}
	var o modelOut
	want := f.model.open(f.now, &c, f.owners, &o)
	err := f.run(fmt.Sprintf("open %s clean=%v expiry=%d v=%d", c.ClientID, c.CleanStart, c.ExpirySec, c.Version), &o, func(out *Out) {
		s, got := f.table.Open(f.now, &c, f.owners, out)
		if refused := f.model.sessions[string(c.ClientID)] == nil; got != want || (s == nil) != refused {
			o.say("present=%v refused=%v", want, refused)
		}
	})
	if err != nil || !want || f.rnd.IntN(4) == 0 {
		return err
	}
	ev := Event{Kind: Resume, Congested: f.rnd.IntN(2) == 0}
	return f.step(f.table.Get(c.ClientID), &ev, fmt.Sprintf("resume congested=%v", ev.Congested))
}

func (f *fleet) tick() error {
	var o modelOut
	f.model.tick(f.now, &o)
	return f.run("tick", &o, func(out *Out) { f.table.Tick(f.now, out) })
}

// step sends the same event both ways.
func (f *fleet) step(s *Session, ev *Event, what string) error {
	m := f.model.sessions[s.id]
	var o modelOut
	if ev.Kind == Lost {
		f.model.lost(m, f.now, ev, &o)
	} else {
		f.model.step(m, f.now, ev, &o)
	}
	return f.run(s.id+" "+what, &o, func(out *Out) { s.Step(f.now, ev, out) })
}

// accepted answers one of the messages that wait for it, in any order, also for sessions that are away or gone.
func (f *fleet) accepted() error {
	i := f.rnd.IntN(min(3, len(f.due)))
	a := f.due[i]
	f.due = slices.Delete(f.due, i, i+1)
	if f.rnd.IntN(5) == 0 {
		a.ev.Reason = 0x87
	}
	if a.s.state != gone {
		return f.step(a.s, &a.ev, fmt.Sprintf("accepted %d token=%d", a.ev.PacketID, a.ev.Token))
	}
	return f.run("late accepted", &modelOut{}, func(out *Out) { a.s.Step(f.now, &a.ev, out) })
}

// message routes one message, comparing the matches first.
func (f *fleet) message() error {
	topic := fleetTopics[f.rnd.IntN(len(fleetTopics))]
	msg := &Message{Topic: []byte(topic), Payload: []byte("xxxxxxxxxxxx"[:f.rnd.IntN(12)] + fmt.Sprint(f.now)), QoS: uint8(f.rnd.IntN(3))}
	msg.LastValue, msg.GroupKey = topic == "a" || topic == "a/c", uint32(f.rnd.IntN(3))
	if f.rnd.IntN(2) == 0 {
		msg.Seq = uint64(f.rnd.IntN(9)) // of no interest here: no session is durable
	}
	if f.rnd.IntN(4) == 0 {
		msg.ExpiresAtSec = f.now + uint32(f.rnd.IntN(8))
	}
	from := f.table.Get([]byte{byte('a' + f.rnd.IntN(6))})
	var ms Matches
	f.table.Match(msg.Topic, from, &ms)
	if err := f.sameMatches(topic, from, &ms); err != nil {
		return err
	}
	for i := range ms.List {
		to := &ms.List[i]
		ev := Event{Kind: Deliver, Msg: msg, QoS: to.QoS, SubIDs: to.SubIDs, Retain: to.RetainAsPublished, Congested: f.rnd.IntN(6) == 0}
		if err := f.step(to.Session, &ev, fmt.Sprintf("deliver %s qos=%d congested=%v", msg.words(), to.QoS, ev.Congested)); err != nil {
			return err
		}
	}
	return f.groupMessage(topic, msg)
}

func (f *fleet) sameMatches(topic string, from *Session, ms *Matches) error {
	var got, want []string
	for _, m := range ms.List {
		slices.Sort(m.SubIDs)
		got = append(got, fmt.Sprintf("%s qos=%d rap=%v ids=%v", m.Session.id, m.QoS, m.RetainAsPublished, m.SubIDs))
	}
	for id, s := range f.model.sessions {
		found, qos, rap := false, uint8(0), false
		ids := []uint32{}
		for _, sub := range s.subs {
			if sub.share != "" || sub.noLocal && from != nil && from.id == id || !naiveMatch(sub.filter, topic) {
				continue
			}
			found, qos, rap = true, max(qos, sub.qos), rap || sub.rap
			if sub.id != 0 {
				ids = append(ids, sub.id)
			}
		}
		if found {
			slices.Sort(ids)
			want = append(want, fmt.Sprintf("%s qos=%d rap=%v ids=%v", id, qos, rap, ids))
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		return fmt.Errorf("%s matches\n%s\nwant\n%s", topic, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	return nil
}

// groupMessage gives msg to one member of each shared group that matches.
func (f *fleet) groupMessage(topic string, msg *Message) error {
	for full, interest := range f.groups {
		members, lively := 0, 0
		for _, s := range f.model.sessions {
			if _, ok := s.subs[full]; ok {
				if members++; s.owner != 0 {
					lively++
				}
			}
		}
		g := f.table.Group(interest)
		if (g == nil) != (members == 0) || g != nil && (g.Members() != members || g.Live() != lively) {
			return fmt.Errorf("group %s: want %d members, %d live; got %+v", full, members, lively, g)
		}
		if g == nil || !naiveMatch(g.subs[0].Filter, topic) {
			continue
		}
		if err := f.give(full, g, &Event{Kind: Deliver, Msg: msg}); err != nil {
			return err
		}
	}
	return nil
}

// device is an event of a connected device.
func (f *fleet) device() error {
	s := f.table.Get([]byte{byte('a' + f.rnd.IntN(6))})
	if s == nil || s.state != live {
		return nil
	}
	ev := Event{PacketID: uint16(1 + f.rnd.IntN(5)), Congested: f.rnd.IntN(8) == 0}
	switch n := f.rnd.IntN(100); {
	case n < 22:
		f.publishes(s, &ev)
	case n < 34:
		ev.Kind, ev.SubID, ev.Filters = Subscribe, uint32(f.rnd.IntN(3)), f.filters()
	case n < 40:
		ev.Kind, ev.Filters = Unsubscribe, f.filters()
	case n < 48:
		ev.Kind = Pubrel
	case n < 55:
		ev.Kind = []Kind{Resume, Drained}[f.rnd.IntN(2)]
	case n < 62:
		ev.Kind, ev.Owner, ev.KeepWill = Lost, s.owner-uint64(f.rnd.IntN(4)/3), f.rnd.IntN(3) > 0
		ev.SetExpiry, ev.ExpirySec = f.rnd.IntN(3) == 0, uint32(f.rnd.IntN(10))
	default:
		f.answers(s, &ev)
	}
	return f.step(s, &ev, fmt.Sprintf("%v %d qos=%d reason=0x%02X token=%d congested=%v %v", ev.Kind, ev.PacketID, ev.QoS, ev.Reason, ev.Token, ev.Congested, ev.Filters))
}

func (f *fleet) publishes(s *Session, ev *Event) {
	ev.Kind, ev.QoS = Publish, uint8(f.rnd.IntN(3))
	f.token++
	ev.Token = f.token
	ev.Msg = &Message{Topic: []byte("up"), Payload: []byte("x"), QoS: ev.QoS}
	if ev.QoS > 0 {
		f.due = append(f.due, accept{s: s, ev: Event{Kind: Accepted, PacketID: ev.PacketID, Token: ev.Token}})
	}
}

func (f *fleet) filters() []Filter {
	var list []Filter
	for range 1 + f.rnd.IntN(3) {
		filter := fleetFilters[f.rnd.IntN(len(fleetFilters))]
		list = append(list, Filter{Topic: []byte(filter), QoS: uint8(f.rnd.IntN(3)), RetainAsPublished: f.rnd.IntN(2) == 0,
			NoLocal: f.rnd.IntN(3) == 0 && !strings.HasPrefix(filter, sharePrefix), RetainHandling: uint8(f.rnd.IntN(3))})
	}
	return list
}

// answers acknowledges what the session has in flight, mostly in order and rightly.
func (f *fleet) answers(s *Session, ev *Event) {
	ev.Kind = []Kind{Puback, Pubrec, Pubcomp, TooLarge}[f.rnd.IntN(4)]
	if f.rnd.IntN(5) == 0 {
		ev.Reason = 0x80
	}
	m := f.model.sessions[s.id]
	if len(m.window) == 0 || f.rnd.IntN(12) == 0 {
		return
	}
	e := m.window[f.rnd.IntN(min(len(m.window), 2))]
	ev.PacketID = e.id
	if f.rnd.IntN(12) > 0 {
		ev.Kind = []Kind{Puback, Pubrec, Pubcomp}[e.phase]
	}
}
