package bus

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/tidegate/tidegate/bus/bustest"
)

// retainedBucket makes the bucket as the Bus does, or opens it.
func retainedBucket(t testing.TB, nc *nats.Conn) nats.KeyValue {
	t.Helper()
	js, err := nc.JetStream()
	if err != nil {
		t.Fatal(err)
	}
	_, err = js.AddStream(&nats.StreamConfig{
		Name: retainedStream, Subjects: []string{retainedSubject + ">"}, MaxMsgsPerSubject: 1, Discard: nats.DiscardNew,
		AllowDirect: true, AllowRollup: true, DenyDelete: true, AllowMsgTTL: true,
	})
	if err != nil && !errors.Is(err, nats.ErrStreamNameAlreadyInUse) {
		t.Fatal(err)
	}
	kv, err := js.KeyValue("TG_retained")
	if err != nil {
		t.Fatal(err)
	}
	return kv
}

// mirrorOf is what a watcher makes of what it is told.
type mirrorOf struct {
	t      testing.TB
	mu     sync.Mutex
	topics map[string]string
	news   []string // of backends
	begun  int
	whole  int
	last   uint64
	fields map[string]Fields
	ttl    map[string]uint32
}

func mirror(t testing.TB, b *Bus) *mirrorOf {
	m := &mirrorOf{t: t, topics: map[string]string{}, fields: map[string]Fields{}, ttl: map[string]uint32{}}
	b.WatchRetained(m.hear)
	return m
}

func (m *mirrorOf) hear(run []RetainedUpdate) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, u := range run {
		topic := string(u.Topic)
		switch u.Kind {
		case RetainedBegin:
			m.begun, m.last = m.begun+1, 0
			clear(m.topics)
			continue
		case RetainedComplete:
			m.whole++
			continue
		}
		if u.Revision <= m.last {
			m.t.Errorf("revision %d after %d", u.Revision, m.last)
		}
		m.last = u.Revision
		if delete(m.topics, topic); u.Kind == RetainedSet && len(u.Payload) > 0 {
			m.topics[topic] = string(u.Payload)
		}
		if u.News && !u.FromDevice {
			m.news = append(m.news, topic+"="+string(u.Payload))
		}
		f := u.Fields
		f.ContentType = bytes.Clone(f.ContentType)
		m.fields[topic], m.ttl[topic] = f, u.TTLSec
	}
}

func (m *mirrorOf) has(want map[string]string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.whole > 0 && m.whole == m.begun && maps.Equal(m.topics, want)
}

func (m *mirrorOf) is(want map[string]string) {
	m.t.Helper()
	for end := time.Now().Add(15 * time.Second); !m.has(want); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.t.Fatalf("%d begun, %d whole, %d topics %.300q, want %d", m.begun, m.whole, len(m.topics), m.topics, len(want))
		}
	}
}

// putRetained puts and waits for the answer.
func putRetained(t testing.TB, b *Bus, m *Message, ttl uint32) (uint64, error) {
	t.Helper()
	type answer struct {
		revision uint64
		err      error
	}
	answers := make(chan answer, 1)
	if err := b.PutRetained(m, ttl, func(revision uint64, err error) { answers <- answer{revision, err} }); err != nil {
		return 0, err
	}
	select {
	case a := <-answers:
		return a.revision, a.err
	case <-time.After(20 * time.Second):
		t.Fatal("no answer to a put")
		return 0, nil
	}
}

func openRetained(t testing.TB, s *bustest.Server) *Bus {
	t.Helper()
	b, err := Open(context.Background(), Options{URLs: []string{s.URL()}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = b.Close(ctx)
	})
	return b
}

// TestRetainedKey: keys and topics are a bijection, keys are valid for key-value buckets, and a simple topic has the key that a person expects.
func TestRetainedKey(t *testing.T) {
	for topic, want := range map[string]string{
		"devices/d1/conf": "devices.d1.conf", "a b": "a/20b", "ä=1": "=C3=A4=3D1", "/": "/./", "a/": "a./", "x.y": "x//y", "*": "/2a", "q:r/@": "q=3Ar.=40",
	} {
		key := appendRetainedKey(nil, []byte(topic))
		if string(key) != want {
			t.Errorf("%q: key %q, want %q", topic, key, want)
		}
		subject, ok := appendKeySubject(nil, string(key))
		back, ok2 := AppendTopic(nil, subject)
		if !ok || !ok2 || string(back) != topic {
			t.Errorf("%q: back %q, %v %v", topic, back, ok, ok2)
		}
	}
	for _, key := range []string{"a=", "a=4", "a=41", "a=3d", "a:b", "=zz", "a b", "ä"} {
		if s, ok := appendKeySubject(nil, key); ok {
			t.Errorf("%q is the key of %q", key, s)
		}
	}
}

// TestRetainedPutAndWatch: what is put comes back to every watcher with its headers, what a backend puts or deletes with nothing but the bucket
// comes as news, and a deletion leaves a marker that goes by itself.
func TestRetainedPutAndWatch(t *testing.T) {
	s := bustest.Start(t)
	kv := retainedBucket(t, s.Conn(t))
	if _, err := kv.Put("old.one", []byte("o")); err != nil {
		t.Fatal(err)
	}
	b := openRetained(t, s)
	m := mirror(t, b)
	m.is(map[string]string{"old/one": "o"})
	m1 := &Message{
		Topic: []byte("d/ä"), Payload: []byte("on"), QoS: 2, Retain: true, ClientID: []byte("c1"),
		Fields: Fields{ContentType: []byte("text/x"), HasExpiry: true, ExpirySec: 500, Users: []UserProperty{{[]byte("a"), []byte("b")}}},
	}
	rev, err := putRetained(t, b, m1, 300)
	if err != nil || rev != 2 {
		t.Fatal(rev, err)
	}
	m.is(map[string]string{"old/one": "o", "d/ä": "on"})
	m.mu.Lock()
	if f := m.fields["d/ä"]; string(f.ContentType) != "text/x" || len(f.Users) != 1 || f.ExpirySec < 490 || f.ExpirySec > 500 {
		t.Errorf("fields %+v", f)
	}
	if ttl := m.ttl["d/ä"]; ttl < 290 || ttl > 300 {
		t.Errorf("TTL %d", ttl)
	}
	m.mu.Unlock()
	e, err := kv.Get("d.=C3=A4")
	if err != nil || string(e.Value()) != "on" {
		t.Fatal(e, err)
	}
	if _, err := kv.Put("devices.d1.conf", []byte("go")); err != nil {
		t.Fatal(err)
	}
	if err := kv.Delete("old.one"); err != nil {
		t.Fatal(err)
	}
	if rev, err = putRetained(t, b, &Message{Topic: []byte("d/ä")}, 0); err != nil {
		t.Fatal(err)
	}
	for topic, want := range map[string]uint64{"d/ä": rev, "never": 0, "old/one": rev - 1} { // nothing to delete
		if again, err := putRetained(t, b, &Message{Topic: []byte(topic)}, 0); err != nil || again != want {
			t.Errorf("deleting %s again: revision %d, want %d, %v", topic, again, want, err)
		}
	}
	m.is(map[string]string{"devices/d1/conf": "go"})
	if fmt.Sprint(m.news) != "[devices/d1/conf=go old/one=]" {
		t.Errorf("news %q", m.news)
	}
	if _, err = kv.Get("d.=C3=A4"); !errors.Is(err, nats.ErrKeyNotFound) {
		t.Errorf("deleted, but the bucket says %v", err)
	}
	js, _ := s.Conn(t).JetStream()
	raw, err := js.GetMsg(retainedStream, rev)
	if err != nil || raw.Header.Get(headerTTL) != "120" || raw.Header.Get(headerOperation) != kvDelete {
		t.Errorf("marker %v, %v", raw, err)
	}
	if _, err = kv.Put("a:b", nil); err == nil {
		t.Error("the library lets such a key pass; then the counter below is tested in another way")
	}
	if err = s.Conn(t).Publish(retainedSubject+"a:b", nil); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); b.RetainedCounters().Unusable == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("a key that no topic has is not counted")
		}
	}
}

// TestRetainedExpires: the bucket forgets a message by its own TTL.
func TestRetainedExpires(t *testing.T) {
	s := bustest.Start(t)
	kv := retainedBucket(t, s.Conn(t))
	b := openRetained(t, s)
	mirror(t, b)
	if _, err := putRetained(t, b, &Message{Topic: []byte("x"), Payload: []byte("short")}, 1); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(15 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if _, err := kv.Get("x"); errors.Is(err, nats.ErrKeyNotFound) {
			return
		}
		if time.Now().After(end) {
			t.Fatal("still there")
		}
	}
}

// TestRetainedWaits: puts wait while the bucket is not there yet and while NATS is away; of each topic the last one is what the bucket
// gets in the end, every put is answered once, and the watcher misses nothing.
func TestRetainedWaits(t *testing.T) {
	s := bustest.Start(t)
	b := openRetained(t, s)
	m := mirror(t, b)
	var mu sync.Mutex
	answers, failed := 0, error(nil)
	want := map[string]string{}
	put := func(topic, payload string) {
		err := b.PutRetained(&Message{Topic: []byte(topic), Payload: []byte(payload), QoS: 1}, 0, func(_ uint64, err error) {
			mu.Lock()
			defer mu.Unlock()
			answers, failed = answers+1, errors.Join(failed, err)
		})
		if err != nil {
			t.Fatal(err)
		}
		want[topic] = payload
	}
	n := 0
	round := func(what string) {
		for i := range 2000 {
			put(fmt.Sprintf("t/%d", i%97), fmt.Sprint(what, i))
			n++
		}
	}
	round("early")
	kv := retainedBucket(t, s.Conn(t))
	m.is(want)
	round("sever")
	s.Sever()
	round("severed")
	m.is(want)
	round("shut")
	s.Shut()
	round("away")
	if _, err := kv.Put("backend.key", []byte("v")); err != nil {
		t.Fatal(err)
	}
	want["backend/key"] = "v"
	s.Reopen()
	m.is(want)
	round("stop")
	s.Stop()
	round("stopped")
	s.Restart()
	m.is(want)
	for end := time.Now().Add(15 * time.Second); ; time.Sleep(time.Millisecond) {
		mu.Lock()
		done, err := answers, failed
		mu.Unlock()
		if err != nil || done > n {
			t.Fatal(done, n, err)
		}
		if done == n {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d of %d puts are answered", done, n)
		}
	}
	if fmt.Sprint(m.news) != "[backend/key=v]" {
		t.Errorf("news %q", m.news)
	}
	c := b.RetainedCounters()
	if c.Merged == 0 || c.Puts == 0 || c.Reloads != 1 || c.Pending != 0 {
		t.Errorf("%+v", c)
	}
	t.Logf("%+v", c)
}

// TestRetainedReload: when markers may be gone, or the bucket is a new one, all is told anew.
func TestRetainedReload(t *testing.T) {
	s := bustest.Start(t)
	nc := s.Conn(t)
	kv := retainedBucket(t, nc)
	for i := range 1000 {
		if _, err := kv.Put(fmt.Sprintf("k.%d", i), []byte("v")); err != nil {
			t.Fatal(err)
		}
	}
	b := openRetained(t, s)
	m := mirror(t, b)
	want := map[string]string{}
	for i := range 1000 {
		want[fmt.Sprintf("k/%d", i)] = "v"
	}
	m.is(want)
	s.Shut()
	if err := kv.Purge("k.7"); err != nil {
		t.Fatal(err)
	}
	delete(want, "k/7")
	js, _ := nc.JetStream()
	if err := js.PurgeStream(retainedStream, &nats.StreamPurgeRequest{Subject: retainedSubject + "k.7"}); err != nil {
		t.Fatal(err)
	}
	w := &b.retained.watch
	w.mu.Lock()
	w.upTo = w.upTo.Add(-2 * retainedResumeTime)
	w.mu.Unlock()
	s.Reopen()
	m.is(want)
	if len(m.news) > 0 {
		t.Errorf("news %q", m.news)
	}
	if err := js.DeleteStream(retainedStream); err != nil {
		t.Fatal(err)
	}
	kv = retainedBucket(t, nc)
	if _, err := kv.Put("new", []byte("n")); err != nil {
		t.Fatal(err)
	}
	s.Sever() // without, the silence of the old consumer tells, later
	m.is(map[string]string{"new": "n"})
}

// TestRetainedTooLarge: what was taken before NATS was ever there, and is more than it carries, is refused then, and does not hold up others.
func TestRetainedTooLarge(t *testing.T) {
	s := bustest.Start(t)
	kv := retainedBucket(t, s.Conn(t))
	s.Shut()
	b := openRetained(t, s)
	m := mirror(t, b)
	large, small := make(chan error, 1), make(chan error, 1)
	for payload, told := range map[string]chan error{string(make([]byte, 2<<20)): large, "small": small} {
		err := b.PutRetained(&Message{Topic: fmt.Append(nil, len(payload)), Payload: []byte(payload)}, 0, func(_ uint64, err error) { told <- err })
		if err != nil {
			t.Fatal(err)
		}
	}
	s.Reopen()
	if err := <-large; !errors.Is(err, ErrRetainedRefused) {
		t.Errorf("large: %v", err)
	}
	if err := <-small; err != nil {
		t.Errorf("small: %v", err)
	}
	m.is(map[string]string{"5": "small"})
	if _, err := kv.Get("5"); err != nil {
		t.Error(err)
	}
}

// TestRetainedRefused: what NATS or the bucket will not take is told, and limits hold.
func TestRetainedRefused(t *testing.T) {
	s := bustest.Start(t)
	js, _ := s.Conn(t).JetStream()
	retainedBucket(t, s.Conn(t))
	info, err := js.StreamInfo(retainedStream)
	if err != nil {
		t.Fatal(err)
	}
	info.Config.MaxMsgSize, info.Config.MaxMsgs = 2000, 2
	if _, err = js.UpdateStream(&info.Config); err != nil {
		t.Fatal(err)
	}
	b := openRetained(t, s)
	mirror(t, b)
	for i, want := range []error{nil, nil, ErrRetainedFull} {
		if _, err := putRetained(t, b, &Message{Topic: fmt.Appendf(nil, "t%d", i), Payload: []byte("x")}, 0); !errors.Is(err, want) {
			t.Errorf("put %d: %v, want %v", i, err, want)
		}
	}
	for _, c := range []struct {
		m    Message
		want error
	}{
		{Message{Topic: []byte("t0"), Payload: make([]byte, 3000)}, ErrRetainedRefused},
		{Message{Topic: []byte("t0"), Payload: make([]byte, 2<<20)}, ErrRetainedRefused},
		{Message{Topic: bytes.Repeat([]byte("x"), 5000), Payload: []byte("x")}, ErrSubjectTooLong},
		{Message{Topic: []byte("$SYS/x"), Payload: []byte("x")}, ErrReserved},
	} {
		if _, err := putRetained(t, b, &c.m, 0); !errors.Is(err, c.want) {
			t.Errorf("%.20s: %v, want %v", c.m.Topic, err, c.want)
		}
	}
	s.Shut()
	told := make(chan error, 1)
	if err := b.PutRetained(&Message{Topic: []byte("told"), Payload: []byte("y")}, 0, func(_ uint64, err error) { told <- err }); err != nil {
		t.Fatal(err)
	}
	busy := 0
	for i := range retainedPendingMax + 10 {
		if err := b.PutRetained(&Message{Topic: fmt.Appendf(nil, "many/%d", i), Payload: []byte("x")}, 0, nil); errors.Is(err, ErrRetainedBusy) {
			busy++
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if c := b.RetainedCounters(); busy == 0 || c.Busy != uint64(busy) || c.Pending > retainedPendingMax {
		t.Errorf("%d busy, %+v", busy, c)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	_ = b.Close(ctx)
	if err := <-told; !errors.Is(err, ErrClosed) {
		t.Errorf("closed: %v", err)
	}
	if err := b.PutRetained(&Message{Topic: []byte("t"), Payload: []byte("y")}, 0, nil); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}
