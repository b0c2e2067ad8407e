package bus

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/nats-io/nats-server/v2/server"
)

// A stream of nats-server that could not write once, say because the disk was full, takes nothing any more, says nothing about it to publishers, and stays
// so until JetStream starts again. With the embedded server that would be the whole gateway; so JetStream is started again here, as soon
// as the disk takes data. Connections, and all that is not stored, do not notice.

// probeBytes is what the disk must take before JetStream is started again.
const probeBytes = 1 << 20

// mend starts JetStream again if a stream could not write and the disk takes data again. The error says that it does not.
func (e *embedded) mend() error {
	if h := e.server.Healthz(&server.HealthzOptions{}); h == nil || !strings.Contains(h.Error, "write error") {
		return nil
	}
	if err := probeDisk(e.dir); err != nil {
		return fmt.Errorf("bus: the data directory %s takes no data: %w; make room there, the rest happens by itself", e.dir, err)
	}
	c := e.server.JetStreamConfig()
	if c == nil {
		return ErrNoJetStream
	}
	if err := e.server.ShutdownJetStream(); err != nil {
		return fmt.Errorf("bus: stop JetStream after a write error: %w", err)
	}
	c.StoreDir = e.dir // the server adds its own directory again
	if err := e.server.EnableJetStream(c); err != nil {
		return fmt.Errorf("bus: start JetStream after a write error: %w; start the gateway again if this stays", err)
	}
	return nil
}

// probeDisk writes, syncs and removes a file.
func probeDisk(dir string) error {
	path := filepath.Join(dir, "probe")
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return err
	}
	_, err = f.Write(make([]byte, probeBytes))
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close(), os.Remove(path))
}
