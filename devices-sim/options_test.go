package main

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/gateway/mqtt"
)

func TestParseTargets(t *testing.T) {
	for _, c := range []struct {
		in    string
		plain bool
		want  string
	}{
		{"mqtt://127.0.0.1", false, "mqtt 127.0.0.1:1883"},
		{"tcp://127.0.0.1:1884", false, "mqtt 127.0.0.1:1884"},
		{"ws://127.0.0.1", false, "mqtt over ws 127.0.0.1:8083/mqtt"},
		{"ws://127.0.0.1:80/x", false, "mqtt over ws 127.0.0.1:80/x"},
		{"ws://127.0.0.1:80/ws/", false, "plain ws 127.0.0.1:80/ws/"},
		{"ws://127.0.0.1:80", true, "plain ws 127.0.0.1:80/ws/"},
		{"any://127.0.0.1:9", false, "mqtt 127.0.0.1:9; mqtt over ws 127.0.0.1:9/mqtt"},
		{"any://127.0.0.1:9", true, "mqtt 127.0.0.1:9; mqtt over ws 127.0.0.1:9/mqtt; plain ws 127.0.0.1:9/ws/"},
		{"http://127.0.0.1", false, "error: scheme"},
		{"127.0.0.1:1883", false, "error: want mqtt://"},
		{"mqtt://", false, "error: want mqtt://"},
	} {
		targets, err := parseTargets([]string{c.in}, c.plain)
		if want, bad := strings.CutPrefix(c.want, "error: "); bad {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v", c.in, err)
			}
			continue
		}
		var got []string
		for _, x := range targets {
			got = append(got, x.Kind.String()+" "+x.Addr.String()+x.Path)
		}
		if err != nil || strings.Join(got, "; ") != c.want {
			t.Errorf("%s: %q, %v; want %q", c.in, got, err, c.want)
		}
	}
}

func TestValidateTellsAll(t *testing.T) {
	o := options{Devices: 0, QoS: 3, PayloadBytes: 5, Rate: -1, Duration: -1, BadShare: 2, Scenario: "stedy", Telemetry: "no-id", Workers: -1}
	err := o.validate()
	for _, want := range []string{"--devices", "--target", "--qos", "--payload", "--rate", "--duration", "--window", "--bad-share", "--scenario", "topic pattern", "--workers"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not told: %v", want, err)
		}
	}
}

func TestParseVersion(t *testing.T) {
	for in, want := range map[string]mqtt.Version{"3.1": mqtt.V31, "3.1.1": mqtt.V311, "5": mqtt.V5} {
		if got, err := parseVersion(in); got != want || err != nil {
			t.Errorf("%s: %v %v", in, got, err)
		}
		if versionText(want) != in {
			t.Errorf("%v is written as %q", want, versionText(want))
		}
	}
	if _, err := parseVersion("6"); err == nil {
		t.Error("6 was taken")
	}
}

func TestSourceOf(t *testing.T) {
	loopback := target{Addr: netip.MustParseAddrPort("127.0.0.1:1883")}
	ports := map[netip.Addr]int{}
	for device := range uint32(120000) {
		a := sourceOf(&loopback, device, 0)
		if !a.IsLoopback() {
			t.Fatalf("device %d dials from %v", device, a)
		}
		ports[a]++
	}
	for a, n := range ports {
		if n > devicesPerSource {
			t.Errorf("%v has %d devices", a, n)
		}
	}
	if sourceOf(&loopback, 5, 0) == sourceOf(&loopback, 5, 1) {
		t.Error("the second attempt meets the first one's ports")
	}
	far := target{Addr: netip.MustParseAddrPort("192.0.2.1:1883")}
	if a := sourceOf(&far, 5, 0); a.IsValid() {
		t.Errorf("a far target is dialled from %v", a)
	}
}

func TestPatternAndSubject(t *testing.T) {
	p, err := parsePattern("devices/{id}/telemetry")
	if err != nil || string(p.append(nil, []byte("x"))) != "devices/x/telemetry" || p.filter() != "devices/+/telemetry" {
		t.Fatalf("%+v %v", p, err)
	}
	for topic, want := range map[string]string{"devices/+/up": "devices.*.up", "a-b/c_1": "a-b.c_1", "a.b/c": "", "a//b": "", "a/#": "", "a b": "", "": ""} {
		if got, err := subject(topic); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q %v", topic, got, err)
		}
	}
	for _, constant := range []string{plainUp, plainDown} {
		if _, err := parsePattern(constant); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []string{"a/b", "{id}/{id}"} {
		if _, err := parsePattern(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestAppendID(t *testing.T) {
	for n, want := range map[uint32]string{0: "sim-000000", 7: "sim-000007", 99999: "sim-099999", 123456: "sim-123456", 1234567: "sim-1234567"} {
		if got := string(appendID(nil, "sim-", n)); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}

func TestRoles(t *testing.T) {
	sc, err := findScenario("half-open")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		devices int
		share   float64
		want    int
	}{{1000, 0, 100}, {1000, 0.5, 500}, {5, 0.01, 1}, {1, 1, 1}, {10, 1, 10}} {
		bad := 0
		for i := range c.devices {
			if sc.roleOf(uint32(i), c.devices, c.share) == silent {
				bad++
			}
		}
		if bad != c.want {
			t.Errorf("%+v: %d bad devices", c, bad)
		}
	}
	if _, err := findScenario("nothing"); err == nil || !strings.Contains(err.Error(), "steady") {
		t.Errorf("an unknown scenario: %v", err)
	}
}

func TestFlags(t *testing.T) {
	for _, c := range []struct {
		args string
		want string
	}{
		{"run --target mqtt://127.0.0.1:1 --devices 0", "--devices"},
		{"run --keepalive 1500ms", "--keepalive"},
		{"run --commands-rate 5", "--verify"},
		{"run --protocol 2", "--protocol"},
		{"run --target x", "--target"},
		{"run --pid 0", "--pid 0"},
		{"idle extra", "unknown command"},
	} {
		cmd := command()
		cmd.SetArgs(strings.Fields(c.args))
		if err := cmd.Execute(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.args, err)
		}
	}
}

func TestMessages(t *testing.T) {
	o := options{Rate: 2.5, Duration: 10 * time.Second}
	if o.messages() != 25 {
		t.Fatal(o.messages())
	}
}
