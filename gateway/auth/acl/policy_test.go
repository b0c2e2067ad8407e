package acl

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// naiveMatch tells whether a topic is one of a filter's, level by level.
func naiveMatch(filter, topic []string, who *Who) bool {
	for i, f := range filter {
		special := i == 0 && strings.HasPrefix(topic[0], "$")
		if f == "#" {
			return !special
		}
		if i == len(topic) || !naiveLevel(f, topic[i], special, who) {
			return false
		}
	}
	return len(filter) == len(topic)
}

func naiveLevel(f, level string, special bool, who *Who) bool {
	for i, name := range placeTexts {
		if f == name {
			v := who.value(place(i))
			return v == level && v != "" && !strings.ContainsAny(v, "+#/\x00") && !special
		}
	}
	return f == level || f == "+" && !special
}

func naivePublish(rules []Rule, who *Who, topic string, a ask) int {
	for i := range rules {
		if rules[i].appliesTo(a, who) && naiveMatch(strings.Split(rules[i].Filter, "/"), strings.Split(topic, "/"), who) {
			return i
		}
	}
	return Undecided
}

var naiveLevels = []string{"a", "b", "", "+", "$s", "${clientid}", "${username}", "${tenant}", "${cert.cn}"}

func randomFilter(r *rand.Rand, of []string) string {
	var levels []string
	for range r.IntN(5) {
		levels = append(levels, of[r.IntN(len(of))])
	}
	if len(levels) == 0 || r.IntN(4) == 0 {
		levels = append(levels, "#")
	}
	if f := strings.Join(levels, "/"); f != "" {
		return f
	}
	return "a"
}

func randomRules(r *rand.Rand) (rules []Rule) {
	for range r.IntN(12) {
		rules = append(rules, Rule{
			Allow: r.IntN(2) == 0, Actions: Actions(1 + r.IntN(3)), Filter: randomFilter(r, naiveLevels), QoSMax: byte(r.IntN(3)), Retain: Retained(r.IntN(3)), OnDeny: OnDeny(r.IntN(3)),
			Client: []string{"", "", "", "a*", "*"}[r.IntN(5)],
		})
	}
	return rules
}

func randomWho(r *rand.Rand) *Who {
	values := []string{"a", "b", "c", "", "+", "#", "a/b", "$s"}
	pick := func() string { return values[r.IntN(len(values))] }
	return &Who{pick(), pick(), pick(), pick()}
}

// topicsOf are all topics of up to four levels of a few letters.
var topicsOf = func() (all []string) {
	levels := []string{"a", "b", "c", "", "$s"}
	last := []string{""}
	for depth := range 4 {
		var next []string
		for _, t := range last {
			for _, l := range levels {
				if depth == 0 {
					next = append(next, l)
				} else {
					next = append(next, t+"/"+l)
				}
			}
		}
		all, last = append(all, next...), next
	}
	return all
}()

// TestAgainstNaive: publish and delivery decide as rules read one by one do, and what a subscription is granted holds no topic that
// a delivery is not.
func TestAgainstNaive(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	granted := 0
	for range 1500 {
		rules, who := randomRules(r), randomWho(r)
		p, err := Compile(rules)
		if err != nil {
			t.Fatal(err)
		}
		for range 40 {
			topic := topicsOf[r.IntN(len(topicsOf))]
			a := ask{action: Publish, qos: byte(r.IntN(3)), retain: r.IntN(2) == 0}
			if got, want := p.Publish(who, []byte(topic), a.qos, a.retain).Rule, naivePublish(rules, who, topic, a); got != want {
				t.Fatalf("seed %d: %+v, %+v: publish %q: rule %d, want %d", seed, rules, who, topic, got, want)
			}
			if got, want := p.Deliver(who, []byte(topic)).Rule, naivePublish(rules, who, topic, ask{action: Subscribe}); got != want {
				t.Fatalf("seed %d: %+v, %+v: deliver %q: rule %d, want %d", seed, rules, who, topic, got, want)
			}
		}
		filter := randomFilter(r, []string{"a", "b", "c", "", "+", "$s"})
		d := p.Subscribe(who, []byte(filter), 0)
		if d.Rule == Undecided || !d.Allow {
			continue
		}
		granted++
		for _, topic := range topicsOf {
			if naiveMatch(strings.Split(filter, "/"), strings.Split(topic, "/"), who) && !p.Deliver(who, []byte(topic)).Allow {
				t.Fatalf("seed %d: %+v, %+v: %q is granted by rule %d, but %q is not allowed", seed, rules, who, filter, d.Rule, topic)
			}
		}
	}
	if granted < 50 {
		t.Errorf("%d subscriptions were granted: the test shows nothing", granted)
	}
}

// TestSubscribe: an allow rule has to cover the filter, and no deny rule before it may share a topic with it.
func TestSubscribe(t *testing.T) {
	allow := func(f string) Rule { return Rule{Allow: true, Actions: Subscribe, Filter: f, QoSMax: 2} }
	deny := func(f string) Rule { return Rule{Actions: Subscribe, Filter: f} }
	who := &Who{ClientID: "d1", Username: "+"}
	for _, tc := range []struct {
		rules  []Rule
		filter string
		want   bool
		by     int
	}{
		{[]Rule{allow("a/#")}, "a", true, 0},
		{[]Rule{allow("a/#")}, "a/+/c", true, 0},
		{[]Rule{allow("a/#")}, "a/#", true, 0},
		{[]Rule{allow("a/#")}, "+/b", false, Undecided},
		{[]Rule{allow("a/#")}, "#", false, Undecided},
		{[]Rule{allow("a/+")}, "a/#", false, Undecided},
		{[]Rule{allow("a/+")}, "a/+", true, 0},
		{[]Rule{allow("+/b")}, "a/+", false, Undecided},
		{[]Rule{deny("a/secret"), allow("a/#")}, "a/#", false, 0},
		{[]Rule{deny("a/secret"), allow("a/#")}, "a/+", false, 0},
		{[]Rule{deny("a/secret"), allow("a/#")}, "a/open", true, 1},
		{[]Rule{deny("a/secret/#"), allow("a/#")}, "a/+", false, 0}, // a/secret
		{[]Rule{allow("a/#"), deny("a/secret")}, "a/#", true, 0},
		{[]Rule{deny("+/b/c"), allow("#")}, "a/+/c", false, 0},
		{[]Rule{deny("$SYS/#"), allow("#")}, "#", true, 1},
		{[]Rule{allow("#")}, "$SYS/x", false, Undecided},
		{[]Rule{allow("+/x")}, "$SYS/x", false, Undecided},
		{[]Rule{allow("$SYS/#")}, "$SYS/x", true, 0},
		{[]Rule{allow("d/${clientid}/#")}, "d/d1/x", true, 0},
		{[]Rule{allow("d/${clientid}/#")}, "d/+/x", false, Undecided},
		{[]Rule{allow("d/${username}/#")}, "d/+/x", false, Undecided}, // a user named +
		{[]Rule{deny("d/${clientid}"), allow("d/+")}, "d/+", false, 0},
		{[]Rule{deny("d/${username}"), allow("d/+")}, "d/+", true, 1},
	} {
		p, err := Compile(tc.rules)
		if err != nil {
			t.Fatal(err)
		}
		if d := p.Subscribe(who, []byte(tc.filter), 1); d.Allow != tc.want || d.Rule != tc.by {
			t.Errorf("%+v: %q: %+v, want %v by %d", tc.rules, tc.filter, d, tc.want, tc.by)
		}
	}
}

// TestQoSAndRetain: a rule is only about the QoS and the retain flag that it names; the next one decides about others.
func TestQoSAndRetain(t *testing.T) {
	p, err := Compile([]Rule{
		{Actions: Publish, Filter: "a", Retain: RetainedOnly, OnDeny: Disconnect},
		{Allow: true, Actions: Publish | Subscribe, Filter: "a", QoSMax: 1},
		{Actions: Publish, Filter: "a", OnDeny: Ignore},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		qos    byte
		retain bool
		want   Decision
	}{
		{0, false, Decision{Allow: true, Rule: 1}}, {1, false, Decision{Allow: true, Rule: 1}}, {2, false, Decision{Rule: 2, OnDeny: Ignore}},
		{0, true, Decision{Rule: 0, OnDeny: Disconnect}}, {2, true, Decision{Rule: 0, OnDeny: Disconnect}},
	} {
		if got := p.Publish(&Who{}, []byte("a"), tc.qos, tc.retain); got != tc.want {
			t.Errorf("QoS %d, retain %v: %+v, want %+v", tc.qos, tc.retain, got, tc.want)
		}
	}
	if d := p.Subscribe(&Who{}, []byte("a"), 1); !d.Allow || d.Rule != 1 {
		t.Errorf("subscribe with QoS 1: %+v", d)
	}
	if d := p.Subscribe(&Who{}, []byte("a"), 2); d.Allow || d.Rule != Undecided {
		t.Errorf("subscribe with QoS 2: %+v", d)
	}
	if d := p.Publish(&Who{}, []byte("b"), 0, false); d.Allow || d.Rule != Undecided {
		t.Errorf("no rule: %+v", d)
	}
}

// TestSubscribeDisconnects: a device that asks for more than it may is not disconnected for what is among it.
func TestSubscribeDisconnects(t *testing.T) {
	p, err := Compile([]Rule{{Actions: Subscribe, Filter: "a/#", OnDeny: Disconnect}})
	if err != nil {
		t.Fatal(err)
	}
	for filter, want := range map[string]OnDeny{"a/b": Disconnect, "a/#": Disconnect, "a": Disconnect, "#": Reason, "+/b": Reason} {
		if d := p.Subscribe(&Who{}, []byte(filter), 0); d.Allow || d.Rule != 0 || d.OnDeny != want {
			t.Errorf("%s: %+v, want %v", filter, d, want)
		}
	}
}

// TestCompileRefuses: a rule that would not do what it seems to is an error that says where it stands.
func TestCompileRefuses(t *testing.T) {
	for _, filter := range []string{"", "a/#/b", "a+", "x/b#", "a\x00", "dev-${clientid}", "${client}/x", "$share/g/a", strings.Repeat("/", LevelsMax)} {
		if _, err := Compile([]Rule{{Allow: true, Actions: Publish, Filter: filter, Source: "acl.yaml:7"}}); err == nil || !strings.Contains(err.Error(), "acl.yaml:7") {
			t.Errorf("%q: %v", filter, err)
		}
	}
	for _, r := range []Rule{{Filter: "a"}, {Actions: Publish, Filter: "a", QoSMax: 3}, {Actions: Publish, Filter: "a", OnDeny: 9}} {
		if _, err := Compile([]Rule{r}); err == nil {
			t.Errorf("%+v is taken", r)
		}
	}
}

// thousand are 1,000 rules: literal ones, wildcards and templates, and what the checks of the benchmark want at the end.
func thousand(t testing.TB) *Policy {
	var rules []Rule
	for i := range 330 {
		rules = append(rules,
			Rule{Allow: true, Actions: Publish, QoSMax: 2, Filter: fmt.Sprintf("site/%d/temperature", i)},
			Rule{Actions: Publish, Filter: fmt.Sprintf("line%d/+/stop/#", i)},
			Rule{Allow: true, Actions: Publish, QoSMax: 2, Filter: fmt.Sprintf("fleet%d/${clientid}/up", i)})
	}
	for i := range 10 {
		rules = append(rules, Rule{Actions: Publish, Filter: fmt.Sprintf("+/forbidden%d/#", i)})
	}
	p, err := Compile(rules)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

var lookups = map[string]string{
	"literal": "site/329/temperature", "wildcard": "line329/x/stop/now/please", "template": "fleet329/device-0001/up", "nothing": "other/thing/of/devices",
}

// BenchmarkPublish: one check with 1,000 rules takes at most 100 ns and allocates nothing.
func BenchmarkPublish(b *testing.B) {
	p, who := thousand(b), &Who{ClientID: "device-0001", Username: "anna"}
	for name, topic := range lookups {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			t := []byte(topic)
			for b.Loop() {
				p.Publish(who, t, 1, false)
			}
		})
	}
}

func TestNoAllocations(t *testing.T) {
	p, who := thousand(t), &Who{ClientID: "device-0001"}
	for name, topic := range lookups {
		text, wild := []byte(topic), []byte("+/device-0001/#")
		if n := testing.AllocsPerRun(100, func() {
			p.Publish(who, text, 1, false)
			p.Deliver(who, text)
			p.Subscribe(who, text, 1)
			p.Subscribe(who, wild, 1)
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
