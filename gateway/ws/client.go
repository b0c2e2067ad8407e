package ws

import (
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"net/http"
	"strconv"
)

// handshakeGUID is what a server joins to the client's key (RFC 6455 §1.3).
const handshakeGUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

// AppendHandshake appends the request of a client for path on host, offering subprotocol ("" none). key is the client's
// nonce; headers are further name and value pairs, passed on as they are.
func AppendHandshake(dst []byte, host, path, subprotocol string, key [16]byte, headers ...[2]string) []byte {
	dst = append(dst, "GET "...)
	dst = append(dst, path...)
	dst = append(dst, " HTTP/1.1\r\nHost: "...)
	dst = append(dst, host...)
	dst = append(dst, "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "...)
	dst = base64.StdEncoding.AppendEncode(dst, key[:])
	if subprotocol != "" {
		dst = append(dst, "\r\nSec-WebSocket-Protocol: "...)
		dst = append(dst, subprotocol...)
	}
	for _, h := range headers {
		dst = append(dst, "\r\n"...)
		dst = append(dst, h[0]...)
		dst = append(dst, ": "...)
		dst = append(dst, h[1]...)
	}
	return append(dst, "\r\n\r\n"...)
}

// AcceptKey returns what a server must answer to key: the 28 characters of Sec-WebSocket-Accept (RFC 6455 §4.2.2).
func AcceptKey(key [16]byte) (accept [28]byte) {
	var text [keyText + len(handshakeGUID)]byte
	base64.StdEncoding.Encode(text[:keyText], key[:])
	copy(text[keyText:], handshakeGUID)
	sum := sha1.Sum(text[:])
	base64.StdEncoding.Encode(accept[:], sum[:])
	return accept
}

// What can be wrong with a server's answer.
var (
	errAnswer       = errors.New("ws: not an HTTP answer")
	errAnswerLong   = errors.New("ws: HTTP answer longer than 8 KiB")
	errNotUpgraded  = errors.New("ws: answer 101 without Upgrade: websocket and Connection: Upgrade")
	errAcceptKey    = errors.New("ws: wrong Sec-WebSocket-Accept")
	errNotRequested = errors.New("ws: the server chose an extension that was not offered")
)

// ParseHandshake reads the server's answer at the start of p, to the request that was made with key. n == 0 without an
// error: not yet whole. A status other than 101 is a refusal by the server and no error; n is the size of the answer's
// head. err means that the server does not speak RFC 6455. subprotocol is borrowed; whether it was offered is for the
// caller to see.
func ParseHandshake(p []byte, key [16]byte) (n int, subprotocol []byte, status int, err error) {
	if head := []byte("HTTP/1."); !bytes.HasPrefix(p, head[:min(len(p), len(head))]) {
		return 0, nil, 0, errAnswer
	}
	end := bytes.Index(p[:min(len(p), headerBytesMaxDefault)], []byte("\r\n\r\n"))
	switch {
	case end < 0 && len(p) >= headerBytesMaxDefault:
		return 0, nil, 0, errAnswerLong
	case end < 0:
		return 0, nil, 0, nil
	}
	n = end + 4
	line, fields, _ := bytes.Cut(p[:n], []byte("\r\n"))
	if len(line) < len("HTTP/1.1 101") {
		return 0, nil, 0, errAnswer
	}
	if status, err = strconv.Atoi(string(line[len("HTTP/1.1 "):len("HTTP/1.1 101")])); err != nil || status < 100 {
		return 0, nil, 0, errAnswer
	}
	if status != http.StatusSwitchingProtocols {
		return n, nil, status, nil
	}
	subprotocol, err = checkAnswer(&Request{fields: fields}, key)
	if err != nil {
		return 0, nil, status, err
	}
	return n, subprotocol, status, nil
}

// checkAnswer judges the fields of an answer with status 101 (RFC 6455 §4.1, the client's list).
func checkAnswer(answer *Request, key [16]byte) (subprotocol []byte, err error) {
	accept := AcceptKey(key)
	switch {
	case !bytes.EqualFold(answer.Header("Upgrade"), []byte("websocket")),
		!bytes.Contains(bytes.ToLower(answer.Header("Connection")), []byte("upgrade")):
		return nil, errNotUpgraded
	case !bytes.Equal(answer.Header("Sec-WebSocket-Accept"), accept[:]):
		return nil, errAcceptKey
	case len(answer.Header("Sec-WebSocket-Extensions")) > 0:
		return nil, errNotRequested
	}
	return answer.Header("Sec-WebSocket-Protocol"), nil
}
