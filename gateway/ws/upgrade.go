package ws

import (
	"bytes"
	"errors"
	"io"
	"iter"
	"net/http"
	"slices"
	"strconv"
	"strings"

	gobwas "github.com/gobwas/ws"
)

// Policy says which handshakes a listener takes. Read-only once in use: safe from any goroutine.
type Policy struct {
	// HeaderBytesMax is the longest request head, empty line included; a longer one is refused with 431. How long a
	// head may take to arrive is for the owner of the clock. Default 8 KiB.
	HeaderBytesMax int
	// Origins are the hosts (with port where it is not the scheme's own) whose pages may connect; "*" is any. Without
	// entries a page may connect to the host it came from. A request without Origin comes from no browser and is always
	// let in. Anything else is refused with 403: browsers let any page open a WebSocket to any host.
	Origins []string
	// Accept decides on path (borrowed, without query, percent-encoding left as it is) and the subprotocols offered, in
	// the client's order. It returns the one to answer, "" for none, and an HTTP status to refuse with, 0 to go on. It
	// must only return a subprotocol that was offered (RFC 6455 §4.1), and it has no side effects: the handshake may
	// still be refused. Without Accept every path is taken, without a subprotocol.
	Accept func(path []byte, offered []string) (subprotocol string, status int)
	// Deflate decides whether a connection to path (borrowed), with the subprotocol that is answered, may compress its
	// messages when the client offers it: permessage-deflate of RFC 7692, without context takeover in either direction. It
	// must say no where messages are not collected whole. Without Deflate none may.
	Deflate func(path []byte, subprotocol string) bool
}

// Request is what a handshake asked for. Its slices are borrowed from the input of Upgrade.
type Request struct {
	Path        []byte // without query; percent-encoding left as it is
	Query       []byte // without "?"
	Subprotocol string // as answered; "" none
	Deflate     bool   // compression is negotiated: call Reader.AcceptDeflate, and send by Deflater.AppendFrame
	Host        []byte
	Origin      []byte // nil without one

	fields []byte
}

// Header returns the value of the first header line called name (in any case), or nil. Borrowed.
func (r *Request) Header(name string) []byte {
	for rest := r.fields; ; {
		line, after, ok := bytes.Cut(rest, []byte("\r\n"))
		if !ok || len(line) == 0 {
			return nil
		}
		if field, value, ok := splitField(line); ok && isField(field, name) {
			return value
		}
		rest = after
	}
}

// Values are the values of all header lines called name (in any case), in their order. Borrowed.
func (r *Request) Values(name string) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for line := range bytes.SplitSeq(r.fields, []byte("\r\n")) {
			if field, value, ok := splitField(line); ok && isField(field, name) && !yield(value) {
				return
			}
		}
	}
}

// Upgrade answers the HTTP request at the start of in.
//
//	status 0    in does not yet hold the whole head: n is 0, nothing was appended
//	status 101  out has the answer, the head took n bytes; bytes behind it are frames and stay the caller's
//	otherwise   out has an HTTP error answer to send before closing; n is 0
//
// The error statuses are 400 malformed, 403 Origin, 405 method, 413 body, 426 another version or no upgrade at all, 431
// head too long, 505 HTTP version, and what Accept returned (404 for a path).
func (p *Policy) Upgrade(dst, in []byte) (out []byte, req Request, n int, status int) {
	bytesMax := p.HeaderBytesMax
	if bytesMax <= 0 {
		bytesMax = headerBytesMaxDefault
	}
	// Waiting for the rest costs no allocation: what escapes is declared in answer.
	n, status = headEnd(in, bytesMax)
	if n == 0 {
		return appendRefusal(dst, status), Request{}, 0, status
	}
	return p.answer(dst, in[:n])
}

// answer answers a whole request head.
func (p *Policy) answer(dst, in []byte) (out []byte, req Request, n int, status int) {
	var h head
	if status = h.parse(in); status != 0 {
		return appendRefusal(dst, status), Request{}, 0, status
	}
	asked := &Request{Host: h.host, Origin: h.origin, fields: h.fields}
	asked.Path, asked.Query, _ = bytes.Cut(h.target, []byte("?"))
	// gobwas answers through an io.ReadWriter and reads ahead: it gets exactly the head, already known to be bounded and
	// unambiguous, and what it must not see cannot be swallowed.
	x := exchange{in: in, out: dst}
	upgrader := gobwas.Upgrader{OnBeforeUpgrade: func() (gobwas.HandshakeHeader, error) {
		return p.decide(&h, asked)
	}}
	if _, err := upgrader.Upgrade(&x); err != nil {
		status = http.StatusBadRequest
		if rejected := (*gobwas.ConnectionRejectedError)(nil); errors.As(err, &rejected) && rejected.StatusCode() != 0 {
			status = rejected.StatusCode()
		}
		return appendRefusal(dst, status), Request{}, 0, status
	}
	return x.out, *asked, len(in), http.StatusSwitchingProtocols
}

// decide is the policy's word on a well-formed handshake.
func (p *Policy) decide(h *head, req *Request) (gobwas.HandshakeHeader, error) {
	if h.hasOrigin && !p.allows(h.origin, h.host) {
		return nil, gobwas.RejectConnectionError(gobwas.RejectionStatus(http.StatusForbidden))
	}
	var answer string
	if p.Accept != nil {
		subprotocol, status := p.Accept(req.Path, h.offered)
		if status != 0 {
			return nil, gobwas.RejectConnectionError(gobwas.RejectionStatus(status))
		}
		if subprotocol != "" && !slices.Contains(h.offered, subprotocol) {
			panic("ws: Policy.Accept answered subprotocol " + strconv.Quote(subprotocol) + ", which was not offered")
		}
		if req.Subprotocol = subprotocol; subprotocol != "" {
			answer = "Sec-WebSocket-Protocol: " + subprotocol + "\r\n"
		}
	}
	if p.Deflate != nil && p.Deflate(req.Path, req.Subprotocol) {
		extension, ok := negotiate(h.fields)
		if !ok {
			return nil, gobwas.RejectConnectionError(gobwas.RejectionStatus(http.StatusBadRequest))
		}
		if req.Deflate = extension != ""; req.Deflate {
			answer += "Sec-WebSocket-Extensions: " + extension + "\r\n"
		}
	}
	if answer == "" {
		return nil, nil
	}
	return gobwas.HandshakeHeaderString(answer), nil
}

// allows reports whether a page from origin ("scheme://host[:port]", or "null") may connect to host.
func (p *Policy) allows(origin, host []byte) bool {
	_, from, ok := strings.Cut(string(origin), "://")
	if len(p.Origins) == 0 {
		return ok && strings.EqualFold(from, string(host))
	}
	for _, o := range p.Origins {
		if o == "*" || (ok && strings.EqualFold(from, o)) {
			return true
		}
	}
	return false
}

// exchange is one request head in, one answer out.
type exchange struct{ in, out []byte }

func (x *exchange) Read(p []byte) (int, error) {
	if len(x.in) == 0 {
		return 0, io.EOF
	}
	n := copy(p, x.in)
	x.in = x.in[n:]
	return n, nil
}

func (x *exchange) Write(p []byte) (int, error) {
	x.out = append(x.out, p...)
	return len(p), nil
}

// refusals are the words and fields that belong to a status.
var refusals = map[int]struct{ field, text string }{
	http.StatusBadRequest:                  {"", "This port speaks WebSocket (RFC 6455); this was not a valid handshake."},
	http.StatusUnauthorized:                {"WWW-Authenticate: Bearer realm=\"devices\"\r\n", "Devices have to authenticate here."},
	http.StatusForbidden:                   {"", "Pages from this Origin, or your address, may not connect."},
	http.StatusNotFound:                    {"", "No WebSocket is served on this path."},
	http.StatusMethodNotAllowed:            {"Allow: GET\r\n", "A WebSocket handshake is a GET."},
	http.StatusRequestEntityTooLarge:       {"", "A WebSocket handshake has no body."},
	http.StatusUpgradeRequired:             {"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n", "This port speaks WebSocket, version 13."},
	http.StatusRequestHeaderFieldsTooLarge: {"", "The request head is too long."},
	http.StatusHTTPVersionNotSupported:     {"", "A WebSocket handshake needs HTTP/1.1."},
	http.StatusTooManyRequests:             {"Retry-After: 5\r\n", "Too many connections from your address; try again later."},
	http.StatusServiceUnavailable:          {"Retry-After: 5\r\n", "Not now; try again later."},
}

// appendRefusal appends an HTTP error answer; status 0 appends nothing.
func appendRefusal(dst []byte, status int) []byte {
	if status == 0 {
		return dst
	}
	r := refusals[status]
	text := r.text
	if text == "" {
		text = http.StatusText(status)
	}
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(status), 10)
	dst = append(dst, ' ')
	dst = append(dst, http.StatusText(status)...)
	dst = append(dst, "\r\nConnection: close\r\n"...)
	if status == http.StatusUpgradeRequired { // RFC 9110 §7.8: Upgrade is named in Connection
		dst = append(dst, "Connection: upgrade\r\n"...)
	}
	dst = append(dst, r.field...)
	dst = append(dst, "Content-Type: text/plain; charset=utf-8\r\nContent-Length: "...)
	dst = strconv.AppendInt(dst, int64(len(text)+1), 10)
	dst = append(dst, "\r\n\r\n"...)
	dst = append(dst, text...)
	return append(dst, '\n')
}
