package main

import (
	"fmt"
	"slices"
	"strings"
)

// attack is something that a bad actor does, over and over. entries are the rows of docs/faults.md that it is about.
type attack struct {
	name, entries, text string
	live                func(a *attacker) error // one connection; an error makes the next one come later
}

// attacks is the list that --attacks takes.
var attacks = slices.Concat(lingering, flooding, hoarding, malformed, framing, ciphering)

func findAttack(name string) (*attack, error) {
	at := slices.IndexFunc(attacks, func(k attack) bool { return k.name == name })
	if at < 0 {
		return nil, fmt.Errorf("--attacks %q: want some of %s", name, strings.Join(attackNames(), ","))
	}
	return &attacks[at], nil
}

func attackNames() (names []string) {
	for _, k := range attacks {
		names = append(names, k.name)
	}
	return names
}

func attackHelp() string {
	var b strings.Builder
	for _, k := range attacks {
		fmt.Fprintf(&b, "  %-18s %-12s %s\n", k.name, k.entries, k.text)
	}
	return b.String()
}
