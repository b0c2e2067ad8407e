package acl

import (
	"slices"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	rules, err := Parse("acl.yaml", []byte(`# whose commands are whose
- permission: allow
  action: publish
  topic: ["devices/${clientid}/up", "devices/${clientid}/state"]
  qos: 1
  retain: false
- {permission: deny, action: all, topic: "admin/#", on_deny: disconnect}
- permission: allow
  action: subscribe
  topic: fleet/+/news
  user: "ops-*"
  client: "*"
  tenant: acme
`))
	if err != nil {
		t.Fatal(err)
	}
	want := []Rule{
		{Allow: true, Actions: Publish, Filter: "devices/${clientid}/up", QoSMax: 1, Retain: NotRetained, Source: "acl.yaml:4"},
		{Allow: true, Actions: Publish, Filter: "devices/${clientid}/state", QoSMax: 1, Retain: NotRetained, Source: "acl.yaml:4"},
		{Actions: Publish | Subscribe, Filter: "admin/#", QoSMax: 2, OnDeny: Disconnect, Source: "acl.yaml:7"},
		{Allow: true, Actions: Subscribe, Filter: "fleet/+/news", QoSMax: 2, User: "ops-*", Client: "*", Tenant: "acme", Source: "acl.yaml:10"},
	}
	if !slices.Equal(rules, want) {
		t.Errorf("%+v\nwant %+v", rules, want)
	}
	for _, nothing := range []string{"", "\n", "# nothing\n", "---\n", "[]"} {
		if rules, err := Parse("acl.yaml", []byte(nothing)); err != nil || len(rules) != 0 {
			t.Errorf("%q: %v %v", nothing, rules, err)
		}
	}
}

// TestParseRefuses: each problem is told with its place, and all of them at once.
func TestParseRefuses(t *testing.T) {
	for text, want := range map[string][]string{
		"a: [":                            {"acl.yaml:1:4: not YAML"},
		"permission: allow":               {"acl.yaml:1:11: rules are a list"},
		"- allow":                         {"acl.yaml:1:3: a rule has keys"},
		"- permission: allow":             {"the rule has no action", "the rule has no topic"},
		"[]\n---\n[]":                     {"acl.yaml:3:1: a second document"},
		rule("permission: maybe"):         {"acl.yaml:2:15: permission wants allow or deny"},
		rule("action: [publish]"):         {"acl.yaml:2:11: action wants publish, subscribe or all"},
		rule("topic: a/#/b"):              {`acl.yaml:2:10: filter "a/#/b": # has to be the last level`},
		rule("topic: [a, 'dev-${user}']"): {"acl.yaml:2:14: "},
		rule("topic: []"):                 {"topic wants a topic filter"},
		rule("topic: 5"):                  {"topic wants a topic filter"},
		rule("topic: $share/g/a"):         {"write the filter without $share/GROUP/"},
		rule("qos: 3"):                    {"acl.yaml:2:8: qos wants 0, 1 or 2"},
		rule("qos: 99999999999999999999"): {"qos wants"},
		rule("qos: -1"):                   {"qos wants"},
		rule("retain: yes please"):        {"acl.yaml:2:11: retain wants true or false"},
		rule("on_deny: ignore"):           {"acl.yaml:2:3: on_deny is for rules that deny"},
		rule("user: \"\""):                {"acl.yaml:2:9: user wants"},
		rule("usr: anna"):                 {`acl.yaml:2:3: unknown key "usr"; a rule has permission, action`},
		rule("1: anna"):                   {"acl.yaml:2:3: 1 is not a key of a rule"},
		rule("qos: 1\n  qos: 2"):          {`acl.yaml:3:3: "qos" stands here a second time`},
		"- &a {permission: deny, action: all, topic: x}\n- *a":                                 {"a rule has keys"},
		"- {permission: deny, action: all, topic: x, qos: 1}":                                  {"qos is for rules that allow"},
		"- {permission: deny, action: subscribe, topic: x, retain: true}":                      {"retain is about what is published"},
		"- {permission: x, action: all, topic: x}\n- {permission: allow, action: y, topic: x}": {"acl.yaml:1:16", "acl.yaml:2:31"},
	} {
		rules, err := Parse("acl.yaml", []byte(text))
		if err == nil {
			t.Errorf("%q is taken: %+v", text, rules)
			continue
		}
		for _, w := range want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%q: %v\nwant %s", text, err, w)
			}
		}
	}
}

// rule is one that is whole but for a line, which stands in the second one.
func rule(line string) string {
	all := map[string]string{"permission": "permission: allow", "action": "action: publish", "topic": "topic: a"}
	key, _, _ := strings.Cut(line, ":")
	delete(all, key)
	text := "- client: a\n  " + line
	for _, l := range all {
		text += "\n  " + l
	}
	return text + "\n"
}

// TestWhom: a rule for some is not about others, nor about those without a name.
func TestWhom(t *testing.T) {
	for _, tc := range []struct {
		pattern, value string
		want           bool
	}{
		{"anna", "anna", true}, {"anna", "annal", false}, {"an*", "anna", true}, {"*na", "anna", true}, {"a*a", "a", false}, {"a*n*a", "anna", true},
		{"*", "x", true}, {"*", "", false}, {"**", "x", true}, {"a*b*c", "a-c", false}, {"*b*b", "ab", false}, {"*ab", "aab", true},
	} {
		if got := fits(tc.pattern, tc.value); got != tc.want {
			t.Errorf("%q, %q: %v", tc.pattern, tc.value, got)
		}
	}
	p, err := Compile([]Rule{
		{Allow: true, Actions: Publish, Filter: "a", QoSMax: 2, User: "ops"}, {Allow: true, Actions: Publish | Subscribe, Filter: "a", QoSMax: 2, Tenant: "acme", Client: "d*"},
	})
	if err != nil {
		t.Fatal(err)
	}
	for who, want := range map[Who]int{
		{Username: "ops"}: 0, {Username: "op"}: Undecided, {}: Undecided, {Tenant: "acme"}: Undecided, {Tenant: "acme", ClientID: "d1"}: 1,
	} {
		if d := p.Publish(&who, []byte("a"), 0, false); d.Rule != want {
			t.Errorf("%+v: %+v", who, d)
		}
		if d := p.Subscribe(&who, []byte("a"), 0); d.Allow != (want == 1) {
			t.Errorf("%+v subscribes: %+v", who, d)
		}
	}
}

// FuzzRules: whatever stands in a file and whatever a device asks, nothing panics, what is taken can be compiled, publishing decides as the
// rules read one by one do, and a filter that is granted holds no topic that is not.
func FuzzRules(f *testing.F) {
	f.Add("- {permission: allow, action: all, topic: 'a/+/#'}\n- {permission: deny, action: all, topic: '${clientid}/b', client: a*}", "a/b", "a/+", "a")
	f.Add("- permission: deny\n  action: publish\n  topic: [$SYS/x, +/x, '#']\n  retain: true", "$SYS/x", "#", "$SYS")
	f.Add("[", "", "", "")
	f.Add(rule("topic: a/#/b"), "a//b", "+/#", "+")
	f.Fuzz(func(t *testing.T, text, topic, filter, id string) {
		rules, err := Parse("f", []byte(text))
		if err != nil {
			return
		}
		p, err := Compile(rules)
		if err != nil {
			t.Fatalf("%q: parsed, but %v", text, err)
		}
		who := &Who{ClientID: id}
		levels := strings.Split(topic, "/")
		if got, want := p.Publish(who, []byte(topic), 1, true).Rule, naivePublish(rules, who, topic, ask{action: Publish, qos: 1, retain: true}); got != want {
			t.Fatalf("%q: %q by %q: rule %d, want %d", text, topic, id, got, want)
		}
		if p.Subscribe(who, []byte(filter), 0).Allow && isFilter(filter) && !strings.ContainsAny(topic, "+#") && naiveMatch(strings.Split(filter, "/"), levels, &Who{}) && !p.Deliver(who, []byte(topic)).Allow {
			t.Fatalf("%q: %q is granted to %q, and %q is in it, but not allowed", text, filter, id, topic)
		}
	})
}

// isFilter tells whether the wildcards of a filter stand where they may, and nothing in it is a template of the test's matcher.
func isFilter(filter string) bool {
	r := Rule{Actions: Publish, Filter: filter}
	return r.check() == nil && !strings.Contains(filter, "${")
}
