package record

import (
	crand "crypto/rand"
	"errors"
	"io"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"
	"unsafe"
)

// TestStateSize: it is what an idle connection costs.
func TestStateSize(t *testing.T) {
	if n := unsafe.Sizeof(State{}); n != 216 {
		t.Errorf("a State takes %d bytes, want 216", n)
	}
	if n := unsafe.Sizeof(seat{}); n != 128 {
		t.Errorf("a seat takes %d bytes, want 128", n)
	}
	var look func(reflect.Type)
	look = func(of reflect.Type) {
		switch of.Kind() {
		case reflect.Struct:
			for i := range of.NumField() {
				look(of.Field(i).Type)
			}
		case reflect.Array:
			look(of.Elem())
		case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		default:
			t.Errorf("State holds a %v; the collector would have to look at it", of)
		}
	}
	look(reflect.TypeFor[State]())
}

// TestWithCryptoTLS exchanges random data of random sizes with crypto/tls on the other side, and ends in order.
func TestWithCryptoTLS(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	each(t, func(t *testing.T, kind kindOf) {
		chance := rand.New(rand.NewPCG(seed, uint64(kind.suite)))
		c := connect(t, kind)
		for range 40 {
			data := make([]byte, 1+chance.IntN(1<<chance.IntN(17)))
			crand.Read(data)
			switch chance.IntN(5) {
			case 0, 1:
				c.send(data)
				c.peerExpects(data)
			case 2, 3:
				c.peerSends(data)
				c.expect(data)
			case 4:
				c.put(c.state.AppendKeyUpdate(c.k, testID, nil, chance.IntN(2) == 0))
			}
		}
		c.put(c.state.AppendCloseNotify(c.k, testID, nil))
		if _, err := c.peer.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("the peer has read %v after close_notify, want EOF", err)
		}
		c.peer.Close()
		for {
			_, got, err := c.receive()
			if err != nil {
				t.Fatal(err)
			}
			if got == CloseNotify {
				return
			}
		}
	})
}

// TestKeyUpdateOfBothSides has crypto/tls follow ours, and answer.
func TestKeyUpdateOfBothSides(t *testing.T) {
	each13(t, func(t *testing.T, kind kindOf) {
		c := connect(t, kind)
		for i := range 3 {
			wrote, read := c.state.write, c.state.read
			c.put(c.state.AppendKeyUpdate(c.k, testID, nil, true))
			c.send([]byte("up"))
			c.peerExpects([]byte("up"))
			c.peerSends([]byte("down"))
			c.expect([]byte("down"))
			if c.state.write.key == wrote.key || c.state.read.key == read.key {
				t.Fatalf("update %d has left a key in place", i)
			}
		}
	})
}

// TestKeyUpdateAsked: crypto/tls can't be made to ask, so a State does.
func TestKeyUpdateAsked(t *testing.T) {
	a, b := twins(t, 0x1301)
	k := NewCiphers(8)
	for range nothingsMax {
		if _, kind, err := b.Open(k, 2, a.AppendKeyUpdate(k, 1, nil, true)); err != nil || kind != Handled || !b.Owes() {
			t.Fatalf("kind %d, %v, owes %v", kind, err, b.Owes())
		}
	}
	before := b.write.key
	answer := b.Seal(k, 2, nil, nil)
	if b.Owes() || b.write.key == before {
		t.Error("the answer was not given")
	}
	if again := b.Seal(k, 2, nil, nil); len(again) != 0 {
		t.Errorf("%d bytes more than one answer", len(again))
	}
	if _, kind, err := a.Open(k, 1, answer); err != nil || kind != Handled || a.Owes() {
		t.Fatalf("kind %d, %v, owes %v", kind, err, a.Owes())
	}
	if plain, _, err := a.Open(k, 1, b.Seal(k, 2, nil, []byte("x"))); err != nil || string(plain) != "x" {
		t.Fatalf("%q, %v", plain, err)
	}
	// The seventeenth on end is one too many.
	if _, _, err := b.Open(k, 2, a.AppendKeyUpdate(k, 1, nil, true)); !errors.Is(err, errNothing) {
		t.Errorf("%v, want %v", err, errNothing)
	}
}

// TestTickets: a server's write sequence goes on behind its tickets, and a client skips them.
func TestTickets(t *testing.T) {
	c := connect(t, kindOf{0x1301, true})
	if c.state.write.sequence != 1 {
		t.Errorf("%d records counted, want the one ticket of crypto/tls", c.state.write.sequence)
	}
	c = connect(t, kindOf{0x1301, false})
	if _, kind, err := c.receive(); err != nil || kind != Handled {
		t.Errorf("kind %d, %v", kind, err)
	}
}

func TestTicketInParts(t *testing.T) {
	a, b := twins(t, 0x1301)
	k := NewCiphers(8)
	ticket := append([]byte{4, 0, 0, 100}, make([]byte, 100)...)
	messages := append(append(ticket, ticket...), 24, 0, 0, 1, 0)
	for _, part := range [][]byte{messages[:50], messages[50 : 104+4], messages[108:]} {
		if _, kind, err := b.Open(k, 2, a.seal(k, 1, nil, typeHandshake, part)); err != nil || kind != Handled {
			t.Fatalf("kind %d, %v", kind, err)
		}
	}
	a.write.update(suiteOf(0x1301))
	if plain, _, err := b.Open(k, 2, a.Seal(k, 1, nil, []byte("x"))); err != nil || string(plain) != "x" {
		t.Fatalf("%q, %v", plain, err)
	}
}

// TestAlerts: what the peer's alerts mean.
func TestAlerts(t *testing.T) {
	for name, c := range map[string]struct {
		suite    uint16
		text     []byte
		want     Kind
		received Alert
	}{
		"1.3: close_notify":        {0x1301, []byte{1, 0}, CloseNotify, 0},
		"1.2: close_notify":        {0xc02b, []byte{1, 0}, CloseNotify, 0},
		"1.3: user_canceled":       {0x1301, []byte{1, 90}, Handled, 0},
		"1.2: a warning":           {0xc02b, []byte{1, 100}, Handled, 0},
		"1.3: fatal, as a warning": {0x1301, []byte{1, 20}, 0, 20},
		"1.3: fatal":               {0x1301, []byte{2, 42}, 0, 42},
		"1.2: fatal":               {0xc02b, []byte{2, 40}, 0, 40},
	} {
		a, b := twins(t, c.suite)
		k := NewCiphers(8)
		_, kind, err := b.Open(k, 2, a.seal(k, 1, nil, typeAlert, c.text))
		var ended *Error
		if kind != c.want || errors.As(err, &ended) != (c.want == 0) || ended != nil && (ended.Alert != c.received || !ended.Received) {
			t.Errorf("%s: kind %d, %v", name, kind, err)
		}
	}
}

// TestAlertArrives: crypto/tls understands ours.
func TestAlertArrives(t *testing.T) {
	each(t, func(t *testing.T, kind kindOf) {
		c := connect(t, kind)
		c.put(c.state.AppendAlert(c.k, testID, nil, AlertRecordOverflow))
		if _, err := c.peer.Read(make([]byte, 1)); err == nil || err.Error() != "remote error: tls: record overflow" {
			t.Errorf("the peer has read %v", err)
		}
	})
}

// TestLimitOfKeys: TLS 1.3 goes on under the next key, TLS 1.2 ends.
func TestLimitOfKeys(t *testing.T) {
	k := NewCiphers(8)
	a, b := twins(t, 0x1302)
	a.SetSequence(0, records13Max-1)
	b.SetSequence(records13Max-1, 0)
	var kinds []Kind
	for range 3 {
		for sealed := a.Seal(k, 1, nil, []byte("x")); len(sealed) > 0; {
			n, _ := Whole(sealed)
			_, kind, err := b.Open(k, 2, sealed[:n])
			if err != nil {
				t.Fatal(err)
			}
			kinds = append(kinds, kind)
			sealed = sealed[n:]
		}
	}
	if want := []Kind{Data, Handled, Data, Data}; !slices.Equal(kinds, want) {
		t.Errorf("kinds %v, want %v", kinds, want)
	}
	if a.write.sequence != 2 || b.read.sequence != 2 {
		t.Errorf("%d records written under the new key and %d read, want 2", a.write.sequence, b.read.sequence)
	}
	_, b = twins(t, 0xc02f)
	b.SetSequence(1, records12Max)
	if !refused(&b, k, []byte{23, 3, 3, 0, 1, 1}, errSpent) {
		t.Error("TLS 1.2 goes on for ever")
	}
}

func TestNewRefuses(t *testing.T) {
	b := make([]byte, 48)
	for name, f := range map[string]func() (State, error){
		"suite of TLS 1.2":     func() (State, error) { return New13(0xc02b, b[:32], b[:32]) },
		"suite of TLS 1.3":     func() (State, error) { return New12(0x1301, b, b[:32], b[:32], true) },
		"suite with CBC":       func() (State, error) { return New12(0xc013, b, b[:32], b[:32], true) },
		"a long secret":        func() (State, error) { return New13(0x1301, b[:32], b) },
		"a short secret":       func() (State, error) { return New13(0x1302, b[:32], b) },
		"a short master":       func() (State, error) { return New12(0xc02b, b[:47], b[:32], b[:32], true) },
		"a random not in time": func() (State, error) { return New12(0xc02b, b, b[:32], nil, true) },
	} {
		if _, err := f(); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// TestManyConnections: with more connections than seats, and numbers that are used again, each has its own keys.
func TestManyConnections(t *testing.T) {
	k := NewCiphers(8)
	type pair struct{ a, b State }
	var all []pair
	for i := range 60 {
		a, b := twins(t, suites[i%len(suites)].id)
		all = append(all, pair{a, b})
	}
	for round := range 5 {
		for i := range all {
			p := &all[(i*7+round)%len(all)]
			id := uint32(i % 20)
			plain, _, err := p.b.Open(k, id, p.a.Seal(k, id+100, nil, []byte("mine")))
			if err != nil || string(plain) != "mine" {
				t.Fatalf("round %d, connection %d: %q, %v", round, i, plain, err)
			}
		}
		k.Forget(uint32(round))
	}
	if n := len(k.rows) * waysPerRow; n != 8 {
		t.Errorf("%d seats, want 8", n)
	}
}

// TestHotAllocatesNothing: neither direction costs the collector anything.
func TestHotAllocatesNothing(t *testing.T) {
	for _, u := range suites {
		a, b := twins(t, u.id)
		k := NewCiphers(8)
		data, dst := make([]byte, 1000), make([]byte, 0, 1100)
		if n := testing.AllocsPerRun(100, func() {
			dst = a.Seal(k, 1, dst[:0], data)
			if _, kind, err := b.Open(k, 2, dst); err != nil || kind != Data {
				t.Fatal(kind, err)
			}
		}); n != 0 {
			t.Errorf("suite %#x: %v allocations a record", u.id, n)
		}
	}
}
