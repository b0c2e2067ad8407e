package auth

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
)

// mosquittoHash is of the password "secret".
const mosquittoHash = "$7$101$AAECAwQFBgcICQoL$Xr99N9ym9ys8TWxis5ajETJq6EVYzmc6nb8t3pUYnPBbCAbICS4xejTltonXWCtJNBvA+By+TXUqU6qCblO00w=="

// quick is a hash for tests.
var quick = HashCost{KiB: 8, Passes: 1}

func passwordLine(t testing.TB, name, password string) string {
	t.Helper()
	line, err := NewPassword(name, password, bytes.Repeat([]byte{7}, SaltBytes), quick)
	if err != nil {
		t.Fatal(err)
	}
	return line
}

func parsePasswords(t testing.TB, text string) *Passwords {
	t.Helper()
	p, err := ParsePasswords("passwords", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestHashes: each kind as somebody else has made it: the reference code of argon2, crypt_blowfish, and PBKDF2 of Python's hashlib.
func TestHashes(t *testing.T) {
	for text, password := range map[string]string{
		"$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc": "password",
		"$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW":                           "U*U",
		"$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW":                           "U*U",
		"$2y$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW":                           "U*U",
		mosquittoHash: "secret",
	} {
		h, err := parseHash(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if !h.matches([]byte(password)) || h.matches([]byte(password+"x")) || h.matches(nil) {
			t.Errorf("%s: not of %q alone", text, password)
		}
	}
}

// TestPasswordFile: who has the password is let in as the line says; who is wrong is refused; who has no line is passed on.
func TestPasswordFile(t *testing.T) {
	f := NewPasswordFile(parsePasswords(t, "# people\r\n\n"+passwordLine(t, "anna", "pw of anna")+"  client=pump-7 tenant=acme\r\n"+
		passwordLine(t, "b:o b", "pw of bob")))
	var stood []Standing
	for _, tc := range []struct {
		name, password string
		given          bool
		want           Answer
	}{
		{"anna", "pw of anna", true, Answer{Verdict: Allow, User: "anna", Tenant: "acme", ClientID: "pump-7"}},
		{"b:o b", "pw of bob", true, Answer{Verdict: Allow, User: "b:o b"}},
		{"anna", "pw of bob", true, Answer{Verdict: Deny, Refusal: BadCredentials}},
		{"anna", "", true, Answer{Verdict: Deny, Refusal: BadCredentials}},
		{"anna", "", false, Answer{}},
		{"Anna", "pw of anna", true, Answer{}},
		{"", "", true, Answer{}},
	} {
		got, err := f.Authenticate(context.Background(), &Request{
			Username: tc.name, HasUsername: true, Password: []byte(tc.password), HasPassword: tc.given,
		}, 1000)
		if !got.Standing.Holds() || (got.Standing.By != nil) != (tc.want.Verdict == Allow) {
			t.Errorf("%q %q rests on nothing", tc.name, tc.password)
		}
		if got.Standing.By != nil {
			stood = append(stood, got.Standing)
		}
		got.Standing = Standing{}
		if err != nil || fmt.Sprint(got) != fmt.Sprint(tc.want) {
			t.Errorf("%q %q: %+v %v, want %+v", tc.name, tc.password, got, err, tc.want)
		}
	}
	f.Set(parsePasswords(t, passwordLine(t, "anna", "another")+"\n"+passwordLine(t, "b:o b", "pw of bob")))
	if stood[0].Holds() || !stood[1].Holds() {
		t.Error("not the user alone has to prove who it is again whose line has changed")
	}
	if _, known, right := f.passwords.Load().check("anna", []byte("pw of anna")); !known || right {
		t.Error("the old password is good after the file has changed")
	}
}

// counted is a hash that counts how often it is made.
type counted struct{ made *int }

func (c counted) matches([]byte) bool { *c.made++; return true }
func (c counted) secret() []byte      { return []byte("x") }

// TestUnknownUserCosts: exactly one hash is made whoever asks; somebody without a line costs always the same of them, and may have any password of none.
func TestUnknownUserCosts(t *testing.T) {
	made := [2]int{}
	p := &Passwords{byName: map[string]int{"anna": 0, "bob": 1}, list: []account{{name: "anna", hash: counted{&made[0]}}, {name: "bob", hash: counted{&made[1]}}}, secret: []byte("s")}
	for range 3 {
		if _, known, right := p.check("anna", nil); !known || !right {
			t.Error("anna is not let in")
		}
	}
	if made != [2]int{3, 0} {
		t.Errorf("known: %v", made)
	}
	both := [2]int{}
	for i := range 64 {
		made = [2]int{}
		for range 3 {
			if _, known, right := p.check(fmt.Sprint("nobody", i), nil); known || right {
				t.Fatal("nobody is let in")
			}
		}
		if made != [2]int{3, 0} && made != [2]int{0, 3} {
			t.Fatalf("unknown: %v", made)
		}
		both[0], both[1] = both[0]+made[0], both[1]+made[1]
	}
	if both[0] == 0 || both[1] == 0 {
		t.Errorf("all strangers cost like one user: %v", both)
	}
}

// TestParsePasswords: each wrong line is named with file and number, and never shown; what a login could cost is bounded.
func TestParsePasswords(t *testing.T) {
	anna := passwordLine(t, "anna", "x")
	_, sum, _ := strings.Cut(anna, "p=1$")
	const secret = "S3cretKeyMaterial"
	argon := func(settings string) string { return "bob:$argon2id$v=19$" + settings + "$" + sum }
	for name, tc := range map[string]struct{ text, say string }{
		"one":                {anna, ""},
		"largest":            {argon("m=65536,t=16,p=4"), ""},
		"none":               {"# nobody yet\n", ""},
		"cut off":            {"\n", "passwords: no users in it"},
		"clear text":         {anna + "\nbob:" + secret, "passwords:2: not of the form NAME:"},
		"unknown kind":       {"bob:$1$x$" + secret, "passwords:1: no hash of a kind"},
		"no name":            {":" + anna[len("anna:"):], "the name is empty"},
		"one round":          {"bob:$6$" + secret + "$" + secret, "$6$ is one round"},
		"argon2i":            {"bob:$argon2i$v=19$m=8,t=1,p=1$" + sum, "no hash of a kind"},
		"old version":        {"bob:$argon2id$v=16$m=8,t=1,p=1$" + sum, "not of the form $argon2id$"},
		"too much memory":    {argon("m=65537,t=1,p=1"), "65537 KiB: it is between 8 and 65536"},
		"all memory":         {argon("m=4294967295,t=1,p=1"), "KiB: it is between"},
		"beyond numbers":     {argon("m=4294967296,t=1,p=1"), "each a number"},
		"no memory":          {argon("m=0,t=1,p=1"), "0 KiB"},
		"too many passes":    {argon("m=8,t=17,p=1"), "17 passes"},
		"no passes":          {argon("m=8,t=0,p=1"), "0 passes"},
		"too many threads":   {argon("m=65536,t=1,p=5"), "p=5"},
		"no threads":         {argon("m=8,t=1,p=0"), "p=0"},
		"less than a thread": {argon("m=8,t=1,p=2"), "p=2"},
		"another order":      {argon("t=1,m=8,p=1"), "in this order"},
		"short salt":         {"bob:$argon2id$v=19$m=8,t=1,p=1$AAAA" + sum[strings.Index(sum, "$"):], "a salt of 3 bytes"},
		"short hash":         {"bob:$argon2id$v=19$m=8,t=1,p=1$" + sum[:strings.Index(sum, "$")] + "$AAAA", "a hash of 3 bytes"},
		"bcrypt too costly":  {"bob:$2b$15$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", "bcrypt with cost 15"},
		"bcrypt of noise":    {"bob:$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvy!!!", "not of the form $2b$"},
		"bcrypt cut":         {"bob:$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvy", "not of the form $2b$"},
		"rounds":             {"bob:" + strings.Replace(mosquittoHash, "$101$", "$2000001$", 1), "between 1 and 2000000"},
		"no rounds":          {"bob:" + strings.Replace(mosquittoHash, "$101$", "$0$", 1), "between 1 and"},
		"fields":             {anna + " tenant=acme client=c", ""},
		"tenant twice":       {anna + " tenant=acme tenant=" + secret, "something behind the hash"},
		"unknown field":      {anna + " admin=" + secret, "something behind the hash"},
		"empty field":        {anna + " tenant=", "tenant=: the name is empty"},
		"twice":              {anna + "\n\n" + anna, "passwords:3: the user has a line already, 1"},
		"many wrong lines":   {strings.Repeat("x\n", 100), "passwords:10: not of the form"},
	} {
		_, err := ParsePasswords("passwords", []byte(tc.text))
		if (err == nil) != (tc.say == "") || err != nil && !strings.Contains(err.Error(), tc.say) {
			t.Errorf("%s: %v, want %q", name, err, tc.say)
		}
		if err != nil && (strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), sum) || strings.Contains(err.Error(), "passwords:11")) {
			t.Errorf("%s: shows too much: %v", name, err)
		}
	}
}

// TestNobody: a file without users knows nobody, and lets nobody stay.
func TestNobody(t *testing.T) {
	f := NewPasswordFile(parsePasswords(t, passwordLine(t, "anna", "x")))
	ask := func() Answer {
		a, err := f.Authenticate(context.Background(), &Request{Username: "anna", HasUsername: true, Password: []byte("x"), HasPassword: true}, 1000)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	before := ask()
	f.Set(parsePasswords(t, "# none"))
	if a := ask(); a.Verdict != Pass || before.Verdict != Allow || before.Standing.Holds() {
		t.Errorf("%+v after %+v", a, before)
	}
}

// TestNewBcrypt: a line that is read back, and a password that bcrypt would cut is refused.
func TestNewBcrypt(t *testing.T) {
	line, err := NewBcrypt("anna", "x")
	if err != nil {
		t.Fatal(err)
	}
	if _, known, right := parsePasswords(t, line).check("anna", []byte("x")); !known || !right {
		t.Error("not the password of", line)
	}
	for _, tc := range [][2]string{{"anna", strings.Repeat("x", 73)}, {"anna", ""}, {"#", "x"}} {
		if _, err := NewBcrypt(tc[0], tc[1]); err == nil {
			t.Errorf("taken: %q", tc)
		}
	}
}

// TestPutLine: the line of one user is put, replaced or taken out, and everything else stays as it is.
func TestPutLine(t *testing.T) {
	const file = "# people\r\nanna:$a\n\nbob:x:$b"
	for _, tc := range []struct {
		text, name, line, want string
		found                  bool
	}{
		{"", "anna", "anna:$new", "anna:$new\n", false},
		{file, "anna", "anna:$new", "# people\r\nanna:$new\n\nbob:x:$b", true},
		{file, "bob:x", "bob:x:$new", "# people\r\nanna:$a\n\nbob:x:$new\n", true},
		{file, "bob", "bob:$new", file + "\nbob:$new\n", false},
		{file, "anna", "", "# people\r\n\nbob:x:$b", true},
		{file, "zoe", "", file, false},
		{"anna:$a\n", "anna", "", "# no users\n", true},
	} {
		got, found := PutLine([]byte(tc.text), tc.name, tc.line)
		if string(got) != tc.want || found != tc.found {
			t.Errorf("%q in %q: %q %v", tc.line, tc.text, got, found)
		}
	}
}

// TestNewPassword refuses what could not be read back, or not be used.
func TestNewPassword(t *testing.T) {
	salt := make([]byte, SaltBytes)
	for _, tc := range []struct {
		name, password string
		salt           []byte
		cost           HashCost
		say            string
	}{
		{"", "x", salt, quick, "name is empty"}, {"a:$b", "x", salt, quick, "has :$ in it"}, {"a\nb", "x", salt, quick, "cannot be shown"},
		{"a", "", salt, quick, "password is empty"}, {"a", "hunter2", nil, quick, "salt of 0 bytes"},
		{"a", "hunter2", salt, HashCost{1 << 20, 1}, "KiB"}, {"a", "hunter2", salt, HashCost{8, 99}, "99 passes"},
	} {
		_, err := NewPassword(tc.name, tc.password, tc.salt, tc.cost)
		if err == nil || !strings.Contains(err.Error(), tc.say) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v, want %q", tc.name, err, tc.say)
		}
	}
}

// FuzzPasswords: no file makes it panic, and whatever is taken costs no more than the bounds say.
func FuzzPasswords(f *testing.F) {
	f.Add([]byte(passwordLine(f, "anna", "x") + " tenant=a client=b\n# x\r\nb:" + mosquittoHash))
	f.Add([]byte("u:$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := ParsePasswords("passwords", text)
		if err != nil {
			return
		}
		for i := range p.list {
			switch h := p.list[i].hash.(type) {
			case *argonHash:
				if h.KiB > argonKiBMax || h.Passes > argonPassesMax || h.threads > argonThreadsMax || len(h.sum) < hashBytesMin {
					t.Fatalf("%+v", h.HashCost)
				}
				if again, err := parseHash(h.String()); err != nil || fmt.Sprint(again) != fmt.Sprint(h) {
					t.Fatalf("%s reads back as %v: %v", h, again, err)
				}
			case bcryptHash:
				if len(h) != bcryptBytes {
					t.Fatalf("%s", h)
				}
			case *roundsHash:
				if h.rounds > roundsMax || len(h.sum) < hashBytesMin {
					t.Fatalf("%+v", h)
				}
			}
		}
	})
}

// BenchmarkHash: one login at the default cost.
func BenchmarkHash(b *testing.B) {
	h := &argonHash{DefaultHashCost, 1, make([]byte, SaltBytes), make([]byte, keyBytes)}
	b.ReportAllocs()
	for b.Loop() {
		h.matches([]byte("password"))
	}
}
