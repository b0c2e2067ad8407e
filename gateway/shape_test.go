package gateway

import (
	"fmt"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/tidegate/tidegate/gateway/mqtt"
)

func TestForms(t *testing.T) {
	for _, tc := range []struct {
		filter, id string
		want       [forms]string
	}{
		{"devices/d1/cmd/now", "d1", [forms]string{"devices/d1/cmd/now", "devices/+/cmd/now", "devices/+/+/+", "devices/+/+/+", "+/+/+/+"}},
		{"a/b/c/#", "x", [forms]string{"a/b/c/#", "a/b/c/#", "a/b/+/#", "a/+/+/#", "+/+/+/#"}},
		{"a", "x", [forms]string{"a", "a", "a", "a", "+"}},
		{"#", "x", [forms]string{"#", "#", "#", "#", "#"}},
		{"/x/", "x", [forms]string{"/x/", "/+/", "/+/+", "/+/+", "+/+/+"}},
	} {
		for f := range forms {
			got := string(appendForm([]byte("front "), f, tc.filter, tc.id))
			if got != "front "+tc.want[f] {
				t.Errorf("%v of %q: %q, want %q", f, tc.filter, got, tc.want[f])
			}
			if topic := tc.filter; topic[len(topic)-1] != '#' && !matches(got[len("front "):], topic) {
				t.Errorf("%q does not match %q", got, topic)
			}
		}
	}
}

// TestInterestsBounded: whatever is subscribed, the interests have a bound, each filter is covered by the one that it has, and all are gone in
// the end.
func TestInterestsBounded(t *testing.T) {
	const most, n = 1200, 20_000
	x := newInterests(1, func(*interest) {})
	x.max = most
	var ids []uint32
	for i := range n {
		for _, filter := range []string{
			fmt.Sprintf("devices/d%d/cmd", i), fmt.Sprintf("rooms/%d/temp", i), fmt.Sprintf("%d/x", i), fmt.Sprintf("d%d/%d/#", i, i), fmt.Sprintf("%d/+/x/y", i),
		} {
			id, _, _ := x.place(0, filter, fmt.Sprint("d", i))
			ids = append(ids, id)
			form := x.byID[id].filter
			topic := string(appendForm(nil, formExact, filter, "")) // its wildcards as they are: what matches it is matched by the form
			if topic = trimDeep(topic); !matches(form, topic) && !matches(form, topic+"/x") {
				t.Fatalf("%q is fed by %q", filter, form)
			}
		}
	}
	byForm, groups := x.counts()
	for f, got := range byForm {
		if got > most {
			t.Errorf("%d interests of form %v", got, form(f))
		}
	}
	if total := x.count(); groups != 0 || total > 4*most+10 {
		t.Errorf("%d interests, %d groups: %v", total, groups, byForm)
	}
	if byForm[formExact] != most {
		t.Errorf("%v", byForm)
	}
	for _, id := range ids {
		x.remove(0, id)
	}
	if byForm, _ = x.counts(); byForm != [forms]int{} || x.count() != 0 {
		t.Errorf("%v are left", byForm)
	}
}

func trimDeep(filter string) string {
	if n := len(filter) - 2; n >= 0 && filter[n:] == "/#" {
		return filter[:n]
	}
	return filter
}

// TestInterestLimit: while devices subscribe beyond the limit, and messages come for exact filters and for shapes that overlap them, each device
// gets each of its messages once, in order; so do those who hear several of the filters. What nobody here wants is dropped.
func TestInterestLimit(t *testing.T) {
	t.Parallel()
	const exact, devices = 4, 40
	r := start(t, func(c *Config) { c.NATS.InterestsMax = exact })
	nc := r.nats()
	var next [devices]atomic.Int64 // what was published to each; -1: not yet subscribed
	for i := range next {
		next[i].Store(-1)
	}
	rounds, stopped := make(chan int, devices), make(chan struct{})
	go func() {
		defer close(stopped)
		for range rounds {
			for i := range next {
				if n := next[i].Load(); n >= 0 {
					_ = nc.Publish(fmt.Sprintf("fleet.d%d.cmd", i), strconv.AppendInt(nil, n, 10))
					next[i].Add(1)
				}
			}
			_ = nc.Flush()
		}
	}()
	var clients []*client
	for i := range devices {
		c := r.connect([]mqtt.Version{mqtt.V311, mqtt.V5}[i%2], fmt.Sprint("d", i))
		filters := []string{fmt.Sprintf("fleet/d%d/cmd", i)}
		if i%10 == 3 {
			filters = append(filters, "fleet/#")
		}
		if i%10 == 7 {
			filters = append(filters, "fleet/+/cmd", fmt.Sprintf("+/d%d/cmd", i))
		}
		var list []mqtt.Filter
		for _, f := range filters {
			list = append(list, mqtt.Filter{Topic: []byte(f)})
		}
		for range 20 {
			rounds <- i // so that many are under way while it subscribes, and none more than its connection takes
		}
		c.write(mqtt.AppendSubscribe(nil, c.v, 1, list, 0))
		for c.must().Type != mqtt.TypeSuback { // others' messages come as soon as the filters are there
		}
		next[i].Store(0)
		clients = append(clients, c)
	}
	close(rounds)
	<-stopped
	for i, c := range clients {
		seen := 0
		if err := nc.Publish(fmt.Sprintf("fleet.d%d.cmd", i), []byte("end")); err != nil {
			t.Fatal(err)
		}
		for {
			m := c.message()
			if m.topic != fmt.Sprintf("fleet/d%d/cmd", i) {
				continue
			}
			if m.payload == "end" {
				break
			}
			if m.payload != strconv.Itoa(seen) {
				t.Fatalf("device %d got %s after %d", i, m.payload, seen-1)
			}
			seen++
		}
		if want := int(next[i].Load()); seen != want {
			t.Errorf("device %d got %d of %d", i, seen, want)
		}
	}
	if byForm, _ := r.gw.interests.counts(); byForm[formExact] > exact || byForm[formClient] == 0 {
		t.Errorf("%v", byForm)
	}
	before := r.gw.unwanted.Load()
	if err := nc.Publish("fleet.stranger.cmd", nil); err != nil { // two of the clients hear it
		t.Fatal(err)
	}
	for i := range clients {
		if i%10 == 3 || i%10 == 7 {
			for m := clients[i].message(); m.topic != "fleet/stranger/cmd"; m = clients[i].message() {
			}
		}
	}
	if got := r.gw.unwanted.Load(); got != before {
		t.Errorf("%d dropped as unwanted", got-before)
	}
	for i, c := range clients {
		if i%10 == 3 || i%10 == 7 {
			c.disconnect()
		}
	}
	r.eventually("they are gone", func() bool { return r.sum().sessions == devices-8 })
	if err := nc.Publish("fleet.stranger.cmd", nil); err != nil {
		t.Fatal(err)
	}
	r.eventually("it is dropped", func() bool { return r.gw.unwanted.Load() > before })
}

// TestInterestWildcardIsShape: a filter that somebody holds as it is may be the shape of others'.
func TestInterestWildcardIsShape(t *testing.T) {
	x := newInterests(2, func(*interest) {})
	x.max = 10
	own, _, _ := x.place(0, "devices/+/cmd", "watcher")
	if to, _ := x.route(own, nil, nil); to.direct || to.form != formExact {
		t.Errorf("%+v", to)
	}
	shaped, _, _ := x.place(1, "devices/d1/cmd", "d1")
	if to, _ := x.route(own, nil, nil); shaped != own || !to.direct || to.form != formClient {
		t.Errorf("%d and %d, %+v", own, shaped, to)
	}
	x.remove(0, own)
	x.remove(1, shaped)
	if byForm, _ := x.counts(); byForm != [forms]int{} {
		t.Errorf("%v", byForm)
	}
}
