package bus

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/tidegate/tidegate/bus/bustest"
)

// TestPeers: what one tells, the others hear, in order, and it does not; after a loss of the connection again; and a last word
// arrives before Close.
func TestPeers(t *testing.T) {
	s := bustest.Start(t)
	const n = 3
	var buses [n]*Bus
	var ears [n]chan string
	for i := range buses {
		b, err := Open(context.Background(), Options{URLs: []string{s.URL()}, Node: fmt.Sprint("n", i)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = b.Close(context.Background()) })
		ear := make(chan string, 1000)
		if err := b.Hear(func(p []byte) { ear <- string(p) }); err != nil {
			t.Fatal(err)
		}
		if err := b.Flush(context.Background()); err != nil {
			t.Fatal(err)
		}
		buses[i], ears[i] = b, ear
	}
	heard := func(at int, want string) {
		t.Helper()
		select {
		case got := <-ears[at]:
			if got != want {
				t.Fatalf("%d heard %q, want %q", at, got, want)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("%d never heard %q", at, want)
		}
	}
	for i := range 100 {
		if err := buses[0].Tell(fmt.Append(nil, i)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 100 {
		heard(1, fmt.Sprint(i))
		heard(2, fmt.Sprint(i))
	}
	s.Shut()
	for buses[1].Status().Connected() || buses[2].Status().Connected() || buses[0].Status().Connected() {
		time.Sleep(time.Millisecond)
	}
	if err := buses[1].Tell([]byte("lost")); !errors.Is(err, ErrDisconnected) {
		t.Errorf("told while NATS is away: %v", err)
	}
	s.Reopen()
	for i := range buses {
		for !buses[i].Status().Connected() || buses[i].Flush(context.Background()) != nil {
			time.Sleep(time.Millisecond)
		}
	}
	if err := buses[1].TellLast([]byte("bye"), 10*time.Second); err != nil {
		t.Fatal(err)
	}
	if err := buses[1].Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	heard(0, "bye")
	heard(2, "bye")
	if len(ears[0])+len(ears[1])+len(ears[2]) != 0 {
		t.Error("somebody heard more than was told to it")
	}
}
