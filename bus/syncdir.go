package bus

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// syncStreams has every file and directory of our streams on disk, and the directories above them up to the one that holds the data directory.
//
// nats-server syncs what is stored as it is told to, but not the names of new files: after a loss of power a stream made shortly before was gone
// altogether, with all that had been synced into it. With the streams there, what was synced is found.
func (e *embedded) syncStreams() error {
	c := e.server.JetStreamConfig()
	if c == nil {
		return ErrNoJetStream
	}
	found, err := filepath.Glob(filepath.Join(c.StoreDir, "*", "streams", "*"))
	if err != nil {
		return fmt.Errorf("bus: look for the streams below %s: %w", c.StoreDir, err)
	}
	found = slices.DeleteFunc(found, func(dir string) bool { return !isOwnStream(filepath.Base(dir)) })
	return syncTrees(found, filepath.Dir(e.dir), syncFile)
}

// syncTrees syncs everything below the directories, and then the directories above them up to top. What vanishes meanwhile is no error.
func syncTrees(dirs []string, top string, sync func(path string) error) error {
	above := make(map[string]bool)
	var errs []error
	try := func(path string) {
		if err := sync(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("bus: sync %s to disk: %w", path, err))
		}
	}
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
			if err == nil && (entry.IsDir() || entry.Type().IsRegular()) {
				try(path)
			}
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return err
		})
		if err != nil {
			errs = append(errs, fmt.Errorf("bus: sync %s to disk: %w", dir, err))
		}
		for up := filepath.Dir(dir); !above[up]; up = filepath.Dir(up) {
			above[up] = true
			try(up)
			if up == top || up == filepath.Dir(up) {
				break
			}
		}
	}
	return errors.Join(errs...)
}

// syncFile syncs one file or directory.
func syncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	return f.Sync()
}
