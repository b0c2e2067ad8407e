package main

import (
	"bytes"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"strings"

	"github.com/tidegate/tidegate/epoll/record"
	"github.com/tidegate/tidegate/gateway/mqtt"
)

// ciphering is attacks on TLS.
var ciphering = []attack{
	{"tls-handshakes", "D9, D11", "whole handshakes, one after the other, and nothing else", tlsHandshakes},
	{"tls-garbage", "D9, 25", "random bytes instead of a ClientHello, and behind one", tlsGarbage},
	{"tls-tiny", "D9", "a record for every byte", tlsTiny},
	{"tls-key-update", "D9", "KeyUpdate as fast as it can", tlsKeyUpdate},
}

func tlsHandshakes(a *attacker) error {
	l, err := a.dial(a.doors.TLS)
	if err != nil {
		return err
	}
	defer l.end()
	return l.secure(noResumption)
}

func tlsGarbage(a *attacker) error {
	l, err := a.dial(a.doors.MQTTS)
	if err != nil {
		return err
	}
	defer l.end()
	p := make([]byte, 1000)
	for i := range p {
		p[i] = byte(a.rng.Uint32())
	}
	if a.life%2 == 0 {
		p = append(bytes.Clone(clientHello), p...)
	}
	if _, err := l.Write(p); err != nil {
		return err
	}
	l.listen()
	l.wait()
	return nil
}

func tlsTiny(a *attacker) error {
	l, err := a.dial(a.doors.MQTTS)
	if err != nil {
		return err
	}
	defer l.end()
	if err := l.secure(); err != nil {
		return err
	}
	if err := l.connect(a.id()); err != nil {
		return err
	}
	l.listen()
	p := mqtt.AppendPingreq(nil)
	return l.again(func(i int) error {
		_, err := l.Write(p[i%2 : i%2+1])
		return err
	})
}

func tlsKeyUpdate(a *attacker) error {
	l, err := a.dial(a.doors.MQTTS)
	if err != nil {
		return err
	}
	defer l.end()
	var keys bytes.Buffer
	if err := l.secure(func(c *tls.Config) { c.KeyLogWriter, c.MinVersion = &keys, tls.VersionTLS13 }); err != nil {
		return err
	}
	under := l.Conn.(*tls.Conn)
	read, write := secretOf(keys.String(), "SERVER_TRAFFIC_SECRET_0"), secretOf(keys.String(), "CLIENT_TRAFFIC_SECRET_0")
	if read == nil || write == nil {
		return errors.New("no traffic secrets")
	}
	state, err := record.New13(under.ConnectionState().CipherSuite, read, write)
	if err != nil {
		return err
	}
	ciphers := record.NewCiphers(1)
	l.Conn = under.NetConn()
	l.listen()
	return l.again(func(int) error {
		var p []byte
		for range 100 {
			p = state.AppendKeyUpdate(ciphers, 0, p, true)
		}
		_, err := l.Write(p)
		return err
	})
}

// secretOf finds a secret in what TLS logs of its keys; nil: it is not there.
func secretOf(log, label string) []byte {
	for line := range strings.Lines(log) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == label {
			secret, _ := hex.DecodeString(f[2]) // nil when it is none
			return secret
		}
	}
	return nil
}
