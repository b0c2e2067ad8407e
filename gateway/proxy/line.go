package proxy

import (
	"bytes"
	"net/netip"
	"strconv"
)

// lineBytesMax is the longest header of version 1, its CR LF included (§2.1).
const lineBytesMax = 107

// parseLine reads version 1: PROXY TCP4|TCP6 SOURCE DESTINATION PORT PORT, or PROXY UNKNOWN and anything.
func parseLine(p []byte) (h Header, n int, err error) {
	line, _, whole := bytes.Cut(p[:min(len(p), lineBytesMax)], []byte("\n"))
	if !whole {
		if len(p) >= lineBytesMax {
			return Header{}, 0, ErrMalformed
		}
		return Header{}, 0, nil
	}
	n = len(line) + 1
	line, ok := bytes.CutSuffix(line[len("PROXY "):], []byte("\r"))
	if !ok {
		return Header{}, 0, ErrMalformed
	}
	if family, _, _ := bytes.Cut(line, []byte(" ")); string(family) == "UNKNOWN" {
		return Header{}, n, nil
	}
	if h.Source, ok = source(line); !ok {
		return Header{}, 0, ErrMalformed
	}
	return h, n, nil
}

// source is the address of the client in the line, if all of the line is as it should be.
func source(line []byte) (at netip.AddrPort, ok bool) {
	var word [5][]byte
	for i := range word {
		var more bool
		word[i], line, more = bytes.Cut(line, []byte(" "))
		if more != (i < len(word)-1) {
			return at, false
		}
	}
	from, goodFrom := address(word[0], word[1])
	_, goodTo := address(word[0], word[2])
	fromPort, goodFromPort := port(word[3])
	_, goodToPort := port(word[4])
	return netip.AddrPortFrom(from, fromPort), goodFrom && goodTo && goodFromPort && goodToPort
}

// address reads an address of the family that the line names.
func address(family, text []byte) (a netip.Addr, ok bool) {
	a, err := netip.ParseAddr(string(text))
	if err != nil || a.Zone() != "" {
		return a, false
	}
	switch string(family) {
	case "TCP4":
		return a, a.Is4()
	case "TCP6":
		return a.Unmap(), a.Is6()
	}
	return a, false
}

// port reads a port number as it has to be written: in decimal digits, without leading zeros.
func port(text []byte) (n uint16, ok bool) {
	v, err := strconv.ParseUint(string(text), 10, 16)
	return uint16(v), err == nil && (len(text) == 1 || text[0] != '0')
}
