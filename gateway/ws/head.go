package ws

import (
	"bytes"
	"encoding/base64"
	"net/http"
)

const (
	headerBytesMaxDefault = 8 << 10
	// methodBytesMax is the longest method looked for before the peer is told that it does not speak HTTP.
	methodBytesMax = 16
	// headerFieldsMax bounds the work of one handshake; browsers send about fifteen fields. Beyond it: 431.
	headerFieldsMax = 100
	// keyText is the length of a Sec-WebSocket-Key: 16 bytes in base64 (RFC 6455 §4.1).
	keyText = 24
)

// headEnd finds the end of the request head in p, looking at most max bytes far: its size with the empty line, or 0
// when p does not yet hold it. A status says that the peer is wrong already: its first bytes are no HTTP method (a TLS
// hello, an MQTT packet, a PROXY line's binary form), a line ends without CR, or the head is too long.
func headEnd(p []byte, max int) (n, status int) {
	for i, c := range p[:min(len(p), methodBytesMax+1)] {
		if c == ' ' && i > 0 {
			break
		}
		if !isToken(c) || i == methodBytesMax {
			return 0, http.StatusBadRequest
		}
	}
	whole := p
	if len(p) > max {
		p = p[:max]
	}
	for at := 0; ; {
		i := bytes.IndexByte(p[at:], '\n')
		switch {
		case i < 0 && len(whole) > len(p):
			return 0, http.StatusRequestHeaderFieldsTooLarge
		case i < 0:
			return 0, 0
		case i == 0 || p[at+i-1] != '\r': // a bare LF is read as a line end by some and not by others: smuggling
			return 0, http.StatusBadRequest
		case i == 1 && at == 0: // an empty line is no request line
			return 0, http.StatusBadRequest
		case i == 1:
			return at + 2, 0
		}
		at += i + 1
	}
}

// head is a whole request head, judged: what parse fills is safe to act on. Its slices point into the input.
type head struct {
	fields            []byte // the header lines, the empty line included
	target            []byte // origin form, "/path?query"
	host, origin, key []byte
	offered           []string // subprotocols, in the client's order

	hasHost, hasOrigin, hasUpgrade, hasVersion, hasKey bool
	hasLength                                          bool
	hasBody                                            bool // Content-Length is not 0
}

// parse reads the head p (headEnd bytes) and returns the HTTP status that refuses it, or 0.
func (h *head) parse(p []byte) (status int) {
	end := bytes.Index(p, []byte("\r\n"))
	if status := h.requestLine(p[:end]); status != 0 {
		return status
	}
	h.fields = p[end+2:]
	count := 0
	for rest := h.fields; ; count++ {
		end = bytes.Index(rest, []byte("\r\n"))
		if end == 0 {
			break
		}
		if count == headerFieldsMax {
			return http.StatusRequestHeaderFieldsTooLarge
		}
		name, value, ok := splitField(rest[:end])
		if !ok || !h.field(name, value) {
			return http.StatusBadRequest
		}
		rest = rest[end+2:]
	}
	return h.judge()
}

// requestLine reads "GET target HTTP/1.1".
func (h *head) requestLine(line []byte) (status int) {
	method, rest, _ := bytes.Cut(line, []byte(" "))
	target, proto, ok := bytes.Cut(rest, []byte(" "))
	if !ok || len(proto) != len("HTTP/1.1") || !bytes.HasPrefix(proto, []byte("HTTP/")) || !isDigit(proto[5]) || proto[6] != '.' || !isDigit(proto[7]) {
		return http.StatusBadRequest
	}
	for _, c := range target {
		if c <= ' ' || c >= 0x7F || c == '#' { // a fragment never stands in a request, RFC 6455 §3
			return http.StatusBadRequest
		}
	}
	switch {
	case proto[5] != '1' || proto[7] == '0': // RFC 6455 §4.2.1: 1.1 or higher
		return http.StatusHTTPVersionNotSupported
	case string(method) != http.MethodGet:
		return http.StatusMethodNotAllowed
	}
	if h.target = originForm(target); h.target == nil {
		return http.StatusBadRequest
	}
	return 0
}

// originForm returns the path and query of a request target, also of an absolute one (RFC 6455 §4.2.1), or nil.
func originForm(target []byte) []byte {
	if len(target) > 0 && target[0] == '/' {
		return target
	}
	scheme, rest, ok := bytes.Cut(target, []byte("://"))
	if !ok || (!bytes.EqualFold(scheme, []byte("http")) && !bytes.EqualFold(scheme, []byte("https"))) {
		return nil
	}
	if i := bytes.IndexByte(rest, '/'); i > 0 {
		return rest[i:]
	}
	return nil
}

// field takes one header line and reports whether it may stand there. The doubled fields that it refuses are those
// for which two readers could choose differently.
func (h *head) field(name, value []byte) bool {
	switch {
	case isField(name, "Host"):
		h.host = value
		return once(&h.hasHost)
	case isField(name, "Origin"):
		h.origin = value
		return once(&h.hasOrigin)
	case isField(name, "Upgrade"):
		return once(&h.hasUpgrade)
	case isField(name, "Sec-WebSocket-Key"):
		h.key = value
		return once(&h.hasKey)
	case isField(name, "Sec-WebSocket-Version"):
		return once(&h.hasVersion)
	case isField(name, "Sec-WebSocket-Protocol"):
		return h.offer(value)
	case isField(name, "Transfer-Encoding"): // there is no body to encode: a way to hide a second request
		return false
	case isField(name, "Content-Length"):
		h.hasBody = !allZero(value)
		return once(&h.hasLength) && allDigits(value)
	}
	return true
}

// offer takes one Sec-WebSocket-Protocol line: a list of tokens (RFC 6455 §11.3.4).
func (h *head) offer(list []byte) bool {
	for len(list) > 0 {
		var item []byte
		item, list, _ = bytes.Cut(list, []byte(","))
		item = bytes.Trim(item, " \t")
		if len(item) == 0 {
			continue // RFC 9110 §5.6.1: empty elements of a list are ignored
		}
		for _, c := range item {
			if !isToken(c) {
				return false
			}
		}
		h.offered = append(h.offered, string(item))
	}
	return true
}

// judge decides on the head as a whole.
func (h *head) judge() (status int) {
	switch {
	case !h.hasHost: // RFC 9112 §3.2
		return http.StatusBadRequest
	case h.hasBody: // a request with a body is no handshake, and the body would be read as frames
		return http.StatusRequestEntityTooLarge
	case !h.hasUpgrade: // ordinary HTTP: say what is spoken here
		return http.StatusUpgradeRequired
	case !h.hasKey || len(h.key) != keyText || !decodesTo16(h.key):
		return http.StatusBadRequest
	}
	return 0
}

// splitField splits "Name: value". The name is a token directly before the colon, so a folded line (it begins with a
// space) and "Name :" are refused, as RFC 9112 §5 asks; the value holds no control characters but tabs.
func splitField(line []byte) (name, value []byte, ok bool) {
	name, value, ok = bytes.Cut(line, []byte(":"))
	if !ok || len(name) == 0 {
		return nil, nil, false
	}
	for _, c := range name {
		if !isToken(c) {
			return nil, nil, false
		}
	}
	for _, c := range value {
		if (c < ' ' && c != '\t') || c == 0x7F {
			return nil, nil, false
		}
	}
	return name, bytes.Trim(value, " \t"), true
}

func isField(name []byte, want string) bool {
	return len(name) == len(want) && bytes.EqualFold(name, []byte(want))
}

// once sets seen and reports whether it was unset.
func once(seen *bool) bool {
	first := !*seen
	*seen = true
	return first
}

func decodesTo16(key []byte) bool {
	var raw [keyText]byte
	n, err := base64.StdEncoding.Decode(raw[:], key)
	return err == nil && n == 16
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func allDigits(p []byte) bool {
	return len(p) > 0 && len(bytes.TrimLeft(p, "0123456789")) == 0
}

func allZero(p []byte) bool { return len(bytes.TrimLeft(p, "0")) == 0 }

// isToken reports whether c may stand in a token (RFC 9110 §5.6.2).
func isToken(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', isDigit(c):
		return true
	}
	return bytes.IndexByte([]byte("!#$%&'*+-.^_`|~"), c) >= 0
}
