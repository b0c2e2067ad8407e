package bus_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/tidegate/tidegate/bus"
)

// A full disk: what can't be stored is refused, and with room again it goes on, in the same process, with everything that was acknowledged.
func TestEmbeddedDiskFull(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("none", dir, "tmpfs", 0, "size=16m"); err != nil {
		t.Skipf("no right to mount a small file system: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	b, err := openEmbedded(t, bus.Options{DataDir: filepath.Join(dir, "data"), ListenAddr: "127.0.0.1:0", Durable: &bus.Durable{}})
	if err != nil {
		t.Fatal(err)
	}
	ready(t, b)
	st := b.NewStorer(nil)
	put := func(payload string) string {
		l := newLedger(t, keep("a", payload))
		st.Offer(l)
		return l.wait()
	}
	if codes := put("0"); codes != "0" {
		t.Fatal(codes)
	}
	junk := filepath.Join(dir, "junk")
	f, err := os.Create(junk)
	if err != nil {
		t.Fatal(err)
	}
	for p := make([]byte, 64<<10); err == nil; {
		_, err = f.Write(p)
	}
	_ = f.Close()
	n := 1
	for large := strings.Repeat("x", 100_000); put(large) != "1"; n++ {
		if n > 1000 {
			t.Fatal("the disk does not fill")
		}
	}
	if ok, err := b.Ready(); ok || !strings.Contains(err.Error(), "make room") {
		t.Fatal(ok, err)
	}
	if codes := put("refused"); codes != "1" {
		t.Fatal(codes)
	}
	if err := os.Remove(junk); err != nil {
		t.Fatal(err)
	}
	ready(t, b)
	if codes := put("last"); codes != "0" {
		t.Fatal(codes)
	}
	nc, err := nats.Connect(b.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	all := payloadsOf(stored(t, jetStream(t, nc), "TG_LOG"))
	if len(all) < n+1 || all[0] != "0" || all[len(all)-1] != "last" {
		t.Fatalf("%d messages of %d", len(all), n+1)
	}
}
