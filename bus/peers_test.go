package bus

import (
	"context"
	"errors"
	"fmt"
	"sync"
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
	var states [n]chan Status
	for i := range buses {
		changes := make(chan Status, 100)
		b, err := Open(context.Background(), Options{
			URLs: []string{s.URL()}, Node: fmt.Sprint("n", i), OnStatus: func(st Status) { changes <- st },
		})
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
		buses[i], ears[i], states[i] = b, ear, changes
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
	become := func(connected bool) {
		t.Helper()
		for i := range buses {
			for buses[i].Status().Connected() != connected {
				select {
				case <-states[i]:
				case <-time.After(20 * time.Second):
					t.Fatalf("%d does not notice", i)
				}
			}
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
	become(false)
	// The other of its two connections may not have noticed yet; what is told to it is lost.
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		err := buses[1].Tell([]byte("lost"))
		if errors.Is(err, ErrDisconnected) {
			break
		}
		if err != nil || time.Now().After(end) {
			t.Fatalf("told while NATS is away: %v", err)
		}
	}
	s.Reopen()
	become(true)
	for i := range buses {
		if err := buses[i].Flush(context.Background()); err != nil {
			t.Fatal(err)
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

// TestPeersBounded: what waits for a callback that lags is bounded in bytes; what is dropped is counted, the rest arrives, and Close
// waits for the callback.
func TestPeersBounded(t *testing.T) {
	s := bustest.Start(t)
	b, err := Open(context.Background(), Options{URLs: []string{s.URL()}, Node: "slow"})
	if err != nil {
		t.Fatal(err)
	}
	begun, free, heard := make(chan struct{}), make(chan struct{}), make(chan string, 1000)
	var once sync.Once
	if err := b.Hear(func(p []byte) {
		once.Do(func() { close(begun) })
		<-free
		heard <- string(p[:1])
	}); err != nil {
		t.Fatal(err)
	}
	if err := b.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	nc := s.Conn(t)
	big := make([]byte, 256<<10)
	const n = 100 // 25 MiB
	for range n {
		if err := nc.Publish(peerSubject, big); err != nil {
			t.Fatal(err)
		}
	}
	<-begun
	for deadline := time.Now().Add(20 * time.Second); b.Counters().PeerDrops == 0; {
		if time.Now().After(deadline) {
			t.Fatal("nothing is dropped")
		}
		time.Sleep(time.Millisecond)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := b.Flush(context.Background()); err != nil { // the last of them was before its PONG
		t.Fatal(err)
	}
	close(free)
	if err := nc.Publish(peerSubject, []byte("!")); err != nil {
		t.Fatal(err)
	}
	got := 0
	for last := ""; last != "!"; got++ {
		select {
		case last = <-heard:
		case <-time.After(20 * time.Second):
			t.Fatal("the last word never arrives")
		}
		if last == "!" && got > peerBytesMax/len(big)+2 {
			t.Errorf("%d of %d messages were kept", got, n)
		}
	}
	if err := b.Close(context.Background()); err != nil {
		t.Error(err)
	}
}
