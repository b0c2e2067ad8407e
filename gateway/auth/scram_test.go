package auth

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/xdg-go/scram"
)

// file is users with the password "pw of NAME"; each has a salt of another length and other iterations.
func file(t testing.TB, names ...string) string {
	t.Helper()
	var lines strings.Builder
	for i, name := range names {
		u, err := NewUser(name, "pw of "+name, bytes.Repeat([]byte{byte(i) + 1}, SaltBytes+i), IterationsMin+i)
		if err != nil {
			t.Fatal(err)
		}
		lines.WriteString(u.String() + "\n")
	}
	return lines.String()
}

func parse(t testing.TB, text string) *Users {
	t.Helper()
	users, err := ParseUsers("users", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return users
}

func client(t testing.TB, name, password, authzID string) *scram.ClientConversation {
	t.Helper()
	c, err := scram.SHA256.NewClient(name, password, authzID)
	if err != nil {
		t.Fatal(err)
	}
	return c.NewConversation()
}

// run is a whole exchange between a client and the method; err is of either side.
func run(x Exchange, c *scram.ClientConversation) error {
	said, err := c.Step("")
	for err == nil {
		answer, done, refused := x.Step([]byte(said))
		if refused != nil {
			return refused
		}
		if said, err = c.Step(string(answer)); done {
			if err == nil && !c.Valid() {
				err = errors.New("the client does not believe the server")
			}
			return err
		}
	}
	return err
}

// TestSCRAM: who knows the password is in, and is sure of the server; nobody else.
func TestSCRAM(t *testing.T) {
	names := []string{"anna", "b:o:b", "a,b=c", "jürgen"}
	m := NewSCRAM(parse(t, file(t, names...)))
	for _, name := range names {
		for _, early := range []bool{true, false} { // with client-first in CONNECT, or only when asked
			x := m.Begin([]byte("c"))
			if !early {
				if answer, done, err := x.Step(nil); len(answer) > 0 || done || err != nil {
					t.Fatalf("asked for client-first with %q, %v, %v", answer, done, err)
				}
			}
			if err := run(x, client(t, name, "pw of "+name, "")); err != nil || x.User() != name {
				t.Errorf("%s: user %q, %v", name, x.User(), err)
			}
			if _, _, err := x.Step([]byte("again")); err == nil {
				t.Error("it goes on after its end")
			}
		}
	}
	if err := run(m.Begin(nil), client(t, "anna", "pw of anna", "anna")); err != nil {
		t.Errorf("an authorization identity that is the user's own: %v", err)
	}
	for what, c := range map[string]*scram.ClientConversation{
		"wrong password":  client(t, "anna", "pw of bob", ""),
		"unknown user":    client(t, "zoe", "pw of zoe", ""),
		"acts for others": client(t, "anna", "pw of anna", "jürgen"),
		"no name":         client(t, "", "x", ""),
	} {
		if err := run(m.Begin(nil), c); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestSCRAMRefuses: what is not of the protocol is refused, and never answered with a reason.
func TestSCRAMRefuses(t *testing.T) {
	m := NewSCRAM(parse(t, file(t, "anna")))
	for _, first := range []string{
		"x", "n,,", "n,,n=anna", "n,,n=anna,r", "p=tls-exporter,,n=anna,r=x", "n,,m=x,n=anna,r=x", "n,,n=a=zz,r=x", "n,a=x=,n=anna,r=x",
		"n,,n=anna,r=" + strings.Repeat("x", DataBytesMax),
	} {
		if answer, done, err := m.Begin(nil).Step([]byte(first)); len(answer) > 0 || done || err != ErrRefused {
			t.Errorf("%.40q: %q, %v, %v", first, answer, done, err)
		}
	}
	for _, final := range []string{"", "x", "c=biws", "c=biws,r=x,p=AAAA", "c=!,r=,p="} {
		x := m.Begin(nil)
		if answer, _, err := x.Step([]byte("n,,n=anna,r=x")); !bytes.HasPrefix(answer, []byte("r=x")) || err != nil {
			t.Fatalf("%q, %v", answer, err)
		}
		if answer, done, err := x.Step([]byte(final)); len(answer) > 0 || done || err != ErrRefused {
			t.Errorf("%q: %q, %v, %v", final, answer, done, err)
		}
	}
}

// TestUnknownUsers are answered as if they were known: the same salt each time, also by another process with the same file, and
// iterations that users have.
func TestUnknownUsers(t *testing.T) {
	text := file(t, "anna", "bob", "carl")
	one, two, other := NewSCRAM(parse(t, text)), NewSCRAM(parse(t, "# same users\n"+text)), NewSCRAM(parse(t, file(t, "anna", "bob")))
	ask := func(m *SCRAM, name string) (salt, iterations string) {
		answer, _, err := m.Begin(nil).Step([]byte("n,,n=" + name + ",r=x"))
		if err != nil {
			t.Fatal(err)
		}
		fields := strings.Split(string(answer), ",")
		return fields[1], fields[2]
	}
	seen := map[string]int{}
	for i := range 200 {
		name := "nobody" + strings.Repeat("x", i)
		salt, iterations := ask(one, name)
		again, _ := ask(two, name)
		if salt != again {
			t.Errorf("%s: salts %s, %s", name, salt, again)
		}
		if elsewhere, _ := ask(other, name); elsewhere == salt {
			t.Errorf("%s: the salt does not depend on the file", name)
		}
		seen[iterations]++
	}
	for _, iterations := range []string{"i=4096", "i=4097", "i=4098"} {
		if seen[iterations] < 30 {
			t.Errorf("%s for %d of 200 unknown users", iterations, seen[iterations])
		}
	}
	if len(seen) != 3 {
		t.Errorf("iterations %v", seen)
	}
}

// FuzzSCRAM: whatever a device says, there is no panic, no reason, and no way in without the password.
func FuzzSCRAM(f *testing.F) {
	m := NewSCRAM(parse(f, file(f, "anna", "bob")))
	f.Add("n,,n=anna,r=x", "c=biws,r=x,p=AAAA", "")
	f.Add("", "n,,n=anna,r=x", "c=biws,r=x,p=AAAA")
	f.Add("y,a=bob,n=anna,r=x", "c=eSxhPWJvYiw=,r=x,m=ext,p=AAAA", "more")
	f.Fuzz(func(t *testing.T, one, two, three string) {
		x := m.Begin(nil)
		for _, data := range []string{one, two, three} {
			answer, done, err := x.Step([]byte(data))
			switch {
			case done:
				t.Fatalf("%q, %q, %q is taken for %s", one, two, three, x.User())
			case bytes.HasPrefix(answer, []byte("e=")) || err != nil && len(answer) > 0:
				t.Fatalf("%q tells %q", data, answer)
			case len(answer) > 2*DataBytesMax:
				t.Fatalf("%d bytes of answer", len(answer))
			case err != nil:
				return
			}
		}
	})
}

// BenchmarkSCRAM is the server's part of one exchange, known and unknown: they should take the same time.
func BenchmarkSCRAM(b *testing.B) {
	m := NewSCRAM(parse(b, file(b, "anna", "bob")))
	for _, name := range []string{"anna", "zoe"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			proof := "=" + strings.Repeat("A", 42) + "A="
			for b.Loop() {
				x := m.Begin(nil)
				answer, _, err := x.Step([]byte("n,,n=" + name + ",r=rOprNGfwEbeRWgbNEkqO"))
				if err != nil {
					b.Fatal(err)
				}
				nonce, _, _ := strings.Cut(string(answer), ",")
				if _, _, err := x.Step([]byte("c=biws," + nonce + ",p" + proof)); err == nil {
					b.Fatal("taken")
				}
			}
		})
	}
}
