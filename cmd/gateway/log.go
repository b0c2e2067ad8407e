package main

import (
	"io"
	"os"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/rs/zerolog"

	"github.com/tidegate/tidegate/gateway"
)

// newLogger writes JSON lines, or lines for a person on a terminal. Validate has checked level and format.
func newLogger(cfg gateway.Log, w io.Writer, terminal bool) zerolog.Logger {
	zerolog.TimeFieldFormat = time.RFC3339Nano
	if cfg.Format == "pretty" || cfg.Format == "auto" && terminal {
		w = zerolog.ConsoleWriter{
			Out: w, TimeFormat: time.TimeOnly, NoColor: os.Getenv("NO_COLOR") != "" || !terminal,
		}
	}
	level, err := zerolog.ParseLevel(cfg.Level)
	if err != nil {
		level = zerolog.InfoLevel
	}
	return zerolog.New(w).Level(level).With().Timestamp().Logger()
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}
