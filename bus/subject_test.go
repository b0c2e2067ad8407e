package bus

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"
)

// What NATS's own MQTT makes of these topics: nats-server, TestMQTTTopicAndSubjectConversion.
var compatible = []struct{ topic, subject string }{
	{"/", "/./"}, {"//", "/././"}, {"///", "/./././"}, {"////", "/././././"},
	{"foo", "foo"}, {"/foo", "/.foo"}, {"//foo", "/./.foo"}, {"///foo", "/././.foo"},
	{"///foo/", "/././.foo./"}, {"///foo//", "/././.foo././"}, {"///foo///", "/././.foo./././"},
	{"//.foo.//", "/././/foo//././"}, {"foo/bar", "foo.bar"}, {"/foo/bar", "/.foo.bar"},
	{"/foo/bar/", "/.foo.bar./"}, {"foo/bar/baz", "foo.bar.baz"}, {"/foo/bar/baz", "/.foo.bar.baz"},
	{"/foo/bar/baz/", "/.foo.bar.baz./"}, {"foo/", "foo./"}, {"bar//", "bar././"}, {"bar///", "bar./././"},
	{"foo//bar", "foo./.bar"}, {"foo///bar", "foo././.bar"}, {"foo////bar", "foo./././.bar"},
	{".", "//"}, {"..", "////"}, {"...", "//////"}, {"./", "//./"}, {".//.", "//././/"}, {"././.", "//.//.//"},
	{"././/.", "//.//././/"}, {".foo", "//foo"}, {"foo.", "foo//"}, {".foo.", "//foo//"},
	{"foo../bar/", "foo////.bar./"}, {"foo../bar/.", "foo////.bar.//"}, {"/foo/", "/.foo./"},
	{"./foo/.", "//.foo.//"}, {"foo.bar/baz", "foo//bar.baz"},
	{"foo*/bar", "foo*.bar"}, {"foo>/bar", "foo>.bar"}, {"**/>>", "**.>>"}, {"ключ/ü", "ключ.ü"}, {"$x/y", "$x.y"},
	{"*.", "*//"}, {"2a", "2a"}, {"/2a", "/.2a"}, {".2a", "//2a"},
}

var own = []struct{ topic, subject string }{
	{"*", "/2a"}, {">", "/3e"}, {"a/*/b", "a./2a.b"}, {"a/>", "a./3e"}, {"*/>", "/2a./3e"},
	{" ", "/20"}, {"a b", "a/20b"}, {"a\tb\r\nc", "a/09b/0d/0ac"}, {"\x7f\x01", "/7f/01"},
	{". x", "///20x"}, {" .", "/20//"}, {"a/ /b", "a./20.b"},
}

func TestSubjectTable(t *testing.T) {
	for _, table := range [][]struct{ topic, subject string }{compatible, own} {
		for _, c := range table {
			if got := string(AppendSubject([]byte("x"), []byte(c.topic))); got != "x"+c.subject {
				t.Errorf("subject of %q is %q, want %q", c.topic, got[1:], c.subject)
			}
			got, ok := AppendTopic([]byte("x"), []byte(c.subject))
			if !ok || string(got) != "x"+c.topic {
				t.Errorf("topic of %q is %q %v, want %q", c.subject, got, ok, c.topic)
			}
		}
	}
	for _, c := range compatible {
		if !Representable([]byte(c.topic)) {
			t.Errorf("%q is not representable", c.topic)
		}
	}
	for _, c := range own {
		if Representable([]byte(c.topic)) {
			t.Errorf("%q is representable", c.topic)
		}
	}
}

func TestSubjectsWithoutTopic(t *testing.T) {
	for _, s := range []string{
		"", ".", "a.", ".a", "a..b", "*", ">", "a.*", "a.>", "a b", "a\n", "\x00", "a\x7f", "a+", "#", "a.+",
		"/", // the empty topic
		"a/", "///", "a/b", "/2", "/2A", "/2ax", "x/2a", "/3ex", "/00", "/41", "/2f", "/2e", "/80", "/ff", "a/1", "\xff", "a.\xc3(",
		strings.Repeat("x", TopicBytesMax+1),
	} {
		if got, ok := AppendTopic([]byte("dst"), []byte(s)); ok || string(got) != "dst" {
			t.Errorf("%.20q became %q", s, got)
		}
	}
}

func TestFilterSubjects(t *testing.T) {
	// nats-server, TestMQTTFilterConversion, with the parent of "#".
	for _, c := range []struct{ filter, subjects string }{
		{"+", "*"}, {"/+", "/.*"}, {"+/", "*./"}, {"/+/", "/.*./"}, {"foo/+", "foo.*"}, {"foo/+/", "foo.*./"},
		{"foo/+/bar", "foo.*.bar"}, {"foo/+/+", "foo.*.*"}, {"foo//+//bar", "foo./.*./.bar"},
		{"foo///+///bar", "foo././.*././.bar"}, {"foo.bar///+///baz", "foo//bar././.*././.baz"},
		{"#", ">"}, {"/#", "/.>"}, {"/foo/#", "/.foo.> /.foo"}, {"foo/#", "foo.> foo"}, {"foo//#", "foo./.> foo./"},
		{"foo/bar.baz/#", "foo.bar//baz.> foo.bar//baz"}, {"+/#", "*.> *"}, {"//#", "/./.> /./"},
		{"foo*/bar", "foo*.bar"}, {"foo/*/bar", "foo./2a.bar"}, {"foo/>", "foo./3e"}, {"a b/+", "a/20b.*"},
	} {
		if got := strings.Join(AppendFilterSubjects([]byte(c.filter)), " "); got != c.subjects {
			t.Errorf("%q: %q, want %q", c.filter, got, c.subjects)
		}
	}
}

func TestReserved(t *testing.T) {
	for _, s := range []string{"$", "$SYS", "$JS/API", "$JS.API", "_INBOX", "_INBOX/x", "_INBOX_a.b", "_R_", "_R_/x", "_R_.x", "_GR_/x", "_TG", "_TG/x", "_TG.x"} {
		if !Reserved([]byte(s)) {
			t.Errorf("%q is not reserved", s)
		}
	}
	for _, s := range []string{"", "a", "a/$SYS", "_", "_x", "_INBO", "_R_x", "_GR", "/_INBOX"} {
		if Reserved([]byte(s)) {
			t.Errorf("%q is reserved", s)
		}
	}
}

func validTopic(p []byte) bool {
	return len(p) > 0 && len(p) <= TopicBytesMax && utf8.Valid(p) && !bytes.ContainsAny(p, "+#\x00")
}

// checkSubject demands what NATS demands of a literal subject, and what we promise beyond.
func checkSubject(t *testing.T, subject []byte) {
	t.Helper()
	for _, token := range bytes.Split(subject, []byte(".")) {
		if len(token) == 0 || isWild(token) {
			t.Fatalf("subject %q has token %q", subject, token)
		}
	}
	for _, c := range subject {
		if c <= ' ' || c == 0x7f {
			t.Fatalf("subject %q has byte %#x", subject, c)
		}
	}
}

// compatibleSubject is a plain transcription of nats-server's mqttToNATSSubjectConversion for topics.
func compatibleSubject(topic []byte) string {
	var out []byte
	for i, c := range topic {
		switch {
		case c == '/' && (i == 0 || out[len(out)-1] == '.'):
			out = append(out, '/', '.')
		case c == '/' && (i == len(topic)-1 || topic[i+1] == '/'):
			out = append(out, '.', '/')
		case c == '/':
			out = append(out, '.')
		case c == '.':
			out = append(out, '/', '/')
		default:
			out = append(out, c)
		}
	}
	if out[len(out)-1] == '.' {
		out = append(out, '/')
	}
	return string(out)
}

// words calls f with every string over the alphabet of at most n bytes.
func words(alphabet string, n int, f func(string)) {
	var grow func(prefix string)
	grow = func(prefix string) {
		if prefix != "" {
			f(prefix)
		}
		if len(prefix) < n {
			for _, c := range alphabet {
				grow(prefix + string(c))
			}
		}
	}
	grow("")
}

func TestEveryShortTopic(t *testing.T) {
	seen := make(map[string]string)
	words("a2/.*> ", 6, func(topic string) {
		subject := AppendSubject(nil, []byte(topic))
		checkSubject(t, subject)
		if other, ok := seen[string(subject)]; ok {
			t.Fatalf("%q and %q are both %q", topic, other, subject)
		}
		seen[string(subject)] = topic
		if back, ok := AppendTopic(nil, subject); !ok || string(back) != topic {
			t.Fatalf("%q → %q → %q %v", topic, subject, back, ok)
		}
	})
	words("/.2a0e>*", 6, func(subject string) {
		if topic, ok := AppendTopic(nil, []byte(subject)); ok && string(AppendSubject(nil, topic)) != subject {
			t.Fatalf("%q → %q → %q", subject, topic, AppendSubject(nil, topic))
		}
	})
}

func TestEveryShortFilter(t *testing.T) {
	var topics []string
	words("a/.*", 4, func(topic string) { topics = append(topics, topic) })
	words("a/+#*", 4, func(filter string) {
		if !validFilter(filter) {
			return
		}
		for _, topic := range topics {
			checkFilter(t, filter, topic)
		}
	})
}

func FuzzTopicThere(f *testing.F) {
	for _, c := range append(compatible, own...) {
		f.Add([]byte(c.topic))
	}
	f.Fuzz(func(t *testing.T, topic []byte) {
		if !validTopic(topic) {
			return
		}
		subject := AppendSubject(nil, topic)
		checkSubject(t, subject)
		back, ok := AppendTopic(nil, subject)
		if !ok || !bytes.Equal(back, topic) {
			t.Fatalf("%q → %q → %q %v", topic, subject, back, ok)
		}
		if Representable(topic) && string(subject) != compatibleSubject(topic) {
			t.Fatalf("%q → %q, NATS's MQTT: %q", topic, subject, compatibleSubject(topic))
		}
	})
}

func FuzzSubjectBack(f *testing.F) {
	for _, c := range append(compatible, own...) {
		f.Add([]byte(c.subject))
	}
	f.Fuzz(func(t *testing.T, subject []byte) {
		topic, ok := AppendTopic(nil, subject)
		if !ok {
			return
		}
		if !validTopic(topic) {
			t.Fatalf("%q → invalid topic %q", subject, topic)
		}
		if again := AppendSubject(nil, topic); !bytes.Equal(again, subject) {
			t.Fatalf("%q → %q → %q", subject, topic, again)
		}
	})
}

// matchTopic is MQTT's matching, naively. [MQTT-4.7.1-2] [MQTT-4.7.1-3] [MQTT-4.7.2-1]
func matchTopic(filter, topic string) bool {
	f, l := strings.Split(filter, "/"), strings.Split(topic, "/")
	if topic[0] == '$' && (f[0] == "+" || f[0] == "#") {
		return false
	}
	for i, level := range f {
		switch {
		case level == "#":
			return true
		case i == len(l), level != "+" && level != l[i]:
			return false
		}
	}
	return len(f) == len(l) || (len(f) == len(l)+1 && f[len(l)] == "#")
}

// matchSubject is NATS's matching, naively.
func matchSubject(pattern, subject string) bool {
	p, s := strings.Split(pattern, "."), strings.Split(subject, ".")
	for i, token := range p {
		switch {
		case i == len(s):
			return false
		case token == ">":
			return true
		case token != "*" && token != s[i]:
			return false
		}
	}
	return len(p) == len(s)
}

func validFilter(filter string) bool {
	levels := strings.Split(filter, "/")
	for i, l := range levels {
		if strings.ContainsAny(l, "+#") && l != "+" && (l != "#" || i != len(levels)-1) {
			return false
		}
	}
	return filter != "" && len(filter) <= TopicBytesMax && utf8.ValidString(filter) && !strings.Contains(filter, "\x00")
}

// checkFilter demands that a topic matches a filter exactly when its subject matches one of the filter's subjects, and never two of them.
func checkFilter(t *testing.T, filter, topic string) {
	t.Helper()
	subject := string(AppendSubject(nil, []byte(topic)))
	hits := 0
	for _, s := range AppendFilterSubjects([]byte(filter)) {
		if matchSubject(s, subject) {
			hits++
		}
	}
	if hits > 1 {
		t.Fatalf("filter %q gets topic %q %d times", filter, topic, hits)
	}
	if topic[0] == '$' && (filter[0] == '+' || filter[0] == '#') {
		return // NATS matches, the receiving side drops reserved subjects
	}
	if want := matchTopic(filter, topic); (hits == 1) != want {
		t.Fatalf("filter %q, topic %q: MQTT %v, NATS %v", filter, topic, want, hits == 1)
	}
}

func FuzzFilterAgreesWithMapping(f *testing.F) {
	for _, filter := range []string{"#", "+", "+/#", "a/#", "/#", "a/+/c", "+/+", "*/#", "a/>", "//#", "$SYS/#", "a b/+", "./+"} {
		for _, topic := range []string{"a", "a/b", "/", "//", "a/", "*", "*/x", "a/>", "$SYS/x", "a/b/c", "a b/c", "./.", "$SYS"} {
			f.Add(filter, topic)
		}
	}
	f.Fuzz(func(t *testing.T, filter, topic string) {
		if !validFilter(filter) || !validTopic([]byte(topic)) {
			return
		}
		checkFilter(t, filter, topic)
	})
}

func TestSubjectAllocatesNothing(t *testing.T) {
	topic := []byte("devices/pump.7/a b/*")
	var subject, back []byte
	subject = AppendSubject(subject, topic)
	back, _ = AppendTopic(back, subject)
	if n := testing.AllocsPerRun(100, func() {
		subject = AppendSubject(subject[:0], topic)
		back, _ = AppendTopic(back[:0], subject)
	}); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func BenchmarkAppendSubject(b *testing.B) {
	topic := []byte("devices/pump-7/telemetry/temperature")
	dst := make([]byte, 0, 128)
	b.ReportAllocs()
	for b.Loop() {
		dst = AppendSubject(dst[:0], topic)
	}
}
