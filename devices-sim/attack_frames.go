package main

import (
	"bytes"
	"compress/flate"
	"strings"
	"sync"

	"github.com/tidegate/tidegate/gateway/mqtt"
	"github.com/tidegate/tidegate/gateway/ws"
)

// framing is attacks with WebSocket frames.
var framing = []attack{
	{"ws-fragments", "B10, 20", "a message of a million fragments, pings between", wsFragments},
	{"ws-pings", "D4", "pings as fast as it can", wsPings},
	{"ws-frames", "B9, 20", "frames that no client may send", wsFrames},
	{"ws-deflate", "B11, 21", "compressed messages that inflate to much more than is allowed", wsDeflate},
	{"http-header", "B12, 22", "headers of 8 kB and more, and handshakes that are none", httpHeader},
}

// plain is a plain WebSocket device.
func (a *attacker) plain(headers ...[2]string) (*link, error) {
	l, err := a.dial(a.doors.WS)
	if err != nil {
		return nil, err
	}
	if err := l.upgrade("/ws/"+a.id(), "", headers...); err != nil {
		l.end()
		return nil, err
	}
	return l, nil
}

func wsFragments(a *attacker) error {
	l, err := a.plain()
	if err != nil {
		return err
	}
	defer l.end()
	l.listen()
	begin := l.frame(ws.OpBinary, []byte("x"))
	begin[0] &^= 0x80
	if _, err := l.Write(begin); err != nil {
		return err
	}
	next := l.frame(ws.OpContinuation, []byte("x"))
	next[0] &^= 0x80
	burst := bytes.Repeat(append(next, l.frame(ws.OpPing, nil)...), 500)
	return l.again(func(int) error {
		_, err := l.Write(burst)
		return err
	})
}

func wsPings(a *attacker) error {
	l, err := a.plain()
	if err != nil {
		return err
	}
	defer l.end()
	l.listen()
	burst := bytes.Repeat(l.frame(ws.OpPing, make([]byte, 125)), 400)
	return l.again(func(int) error {
		_, err := l.Write(burst)
		return err
	})
}

// wrongFrames are frames that end a connection.
var wrongFrames = []string{
	"\x82\x01x", "\xf2\x81\x00\x00\x00\x00x", "\x83\x80\x00\x00\x00\x00", "\x09\x80\x00\x00\x00\x00", "\x80\x80\x00\x00\x00\x00",
	"\x82\xff\x80\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00", "\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00",
	"\x82\xfe\x00\x01\x00\x00\x00\x00x", "\x88\x81\x00\x00\x00\x00x", "\x88\x82\x00\x00\x00\x00\x03\xed", "\x81\x82\x00\x00\x00\x00a\xff",
}

func wsFrames(a *attacker) error {
	l, err := a.plain()
	if err != nil {
		return err
	}
	defer l.end()
	if _, err := l.Write([]byte(wrongFrames[a.rng.IntN(len(wrongFrames))])); err != nil {
		return err
	}
	l.listen()
	l.wait()
	return nil
}

// deflated is 64 MB of zeros, compressed: a block of a megabyte over and over. They are made once.
var deflated = sync.OnceValue(func() []byte {
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestCompression)
	if err != nil {
		panic(err) // the level is one
	}
	if _, err = w.Write(make([]byte, 1<<20)); err == nil {
		err = w.Flush()
	}
	if err != nil {
		panic(err) // memory does not fail
	}
	return bytes.TrimSuffix(bytes.Repeat(b.Bytes(), 64), []byte{0, 0, 0xff, 0xff})
})

func wsDeflate(a *attacker) error {
	l, err := a.plain([2]string{"Sec-WebSocket-Extensions", "permessage-deflate"})
	if err != nil {
		return err
	}
	defer l.end()
	l.listen()
	p := l.frame(ws.OpBinary, deflated())
	p[0] |= 0x40 // RSV1: it is compressed
	if _, err := l.Write(p); err != nil {
		return err
	}
	l.wait()
	return nil
}

func httpHeader(a *attacker) error {
	l, err := a.dial(a.doors.WS)
	if err != nil {
		return err
	}
	defer l.end()
	bad := [...]string{
		"GET /" + strings.Repeat("x", 20_000), "POST /mqtt HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello", "GET /mqtt HTTP/1.1\r\n" + strings.Repeat("X: y\r\n", 5000),
		"GET /mqtt HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", "GET /mqtt HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\r\n",
	}
	if _, err := l.Write([]byte(bad[a.life%len(bad)])); err != nil {
		return err
	}
	l.listen()
	l.wait()
	return nil
}

// mqttVersions are those a packet may be of.
var mqttVersions = [...]mqtt.Version{mqtt.V31, mqtt.V311, mqtt.V5}
