package bus

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// What a loss of power must not take: every file of our streams, and every directory on the way to them, up to the one that holds the data directory.
func TestSyncTrees(t *testing.T) {
	top := t.TempDir()
	stream := filepath.Join(top, "data", "jetstream", "$G", "streams", "TG_LOG")
	if err := os.MkdirAll(filepath.Join(stream, "msgs"), 0o750); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"meta.inf", "msgs/1.blk"} {
		if err := os.WriteFile(filepath.Join(stream, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var synced []string
	record := func(path string) error {
		rel, _ := filepath.Rel(top, path)
		synced = append(synced, rel)
		return syncFile(path)
	}
	if err := syncTrees([]string{stream}, top, record); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"data/jetstream/$G/streams/TG_LOG", "data/jetstream/$G/streams/TG_LOG/meta.inf", "data/jetstream/$G/streams/TG_LOG/msgs",
		"data/jetstream/$G/streams/TG_LOG/msgs/1.blk", "data/jetstream/$G/streams", "data/jetstream/$G", "data/jetstream", "data", ".",
	}
	if !slices.Equal(synced, want) {
		t.Fatalf("%q\nwant %q", synced, want)
	}
	broken := errors.New("disk")
	if err := syncTrees([]string{stream}, top, func(string) error { return broken }); !errors.Is(err, broken) {
		t.Fatal(err)
	}
	if err := syncTrees([]string{stream}, top, func(string) error { return fs.ErrNotExist }); err != nil {
		t.Fatal(err)
	}
}

// The streams of the embedded server are where syncStreams looks for them.
func TestSyncStreamsFindsThem(t *testing.T) {
	ready := make(chan struct{}, 1)
	dir := t.TempDir()
	b, err := Open(t.Context(), Options{Embedded: true, DataDir: dir, Durable: &Durable{}, OnReady: func() { ready <- struct{}{} }})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = b.Close(context.Background()) }()
	<-ready
	for _, name := range []string{"TG_LOG", "KV_TG_sessions", "KV_TG_retained"} {
		if _, err := os.Stat(filepath.Join(dir, "jetstream", "$G", "streams", name, "meta.inf")); err != nil {
			t.Error(err)
		}
	}
	if err := b.server.syncStreams(); err != nil {
		t.Fatal(err)
	}
}
