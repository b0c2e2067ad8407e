package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/tidegate/tidegate/gateway/mqtt"
)

// tlsDial is how a figure of TLS connects: config nil is without TLS.
func tlsDial(port int, config *tls.Config) (net.Conn, error) {
	d := net.Dialer{Timeout: time.Minute}
	addr := fmt.Sprint("127.0.0.1:", port)
	if config == nil {
		return d.Dial("tcp", addr)
	}
	return tls.DialWithDialer(&d, "tcp", addr, config)
}

// tlsDevice is an MQTT 5 device that has CONNACK.
func tlsDevice(port int, id string, config *tls.Config) (net.Conn, error) {
	c, err := tlsDial(port, config)
	if err != nil {
		return nil, err
	}
	if err := connackOn(c, id); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func connackOn(c net.Conn, id string) error {
	if _, err := c.Write(mqtt.AppendConnect(nil, mqtt.V5, &mqtt.ConnectOut{ClientID: []byte(id), CleanStart: true})); err != nil {
		return err
	}
	p := make([]byte, 1024) // the gateway writes it at once
	n, err := c.Read(p)
	if err != nil {
		return err
	}
	if n < 4 || mqtt.Type(p[0]>>4) != mqtt.TypeConnack || p[3] != 0 {
		return fmt.Errorf("CONNACK %x", p[:n])
	}
	return nil
}

// idleRest is what a gateway is given to return memory after all have connected.
const idleRest = 20 * time.Second

// idleBytes returns what each of many idle devices adds to the resident memory of a fresh gateway, and to its heap.
func (f *tlsFigures) idleBytes(ctx context.Context, many int, config *tls.Config) (rss, heap int64, err error) {
	g, err := besiege(ctx, f.yard, boundlessConfig)
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, g.stop()) }()
	port := g.doors.MQTT
	if config != nil {
		port = g.doors.MQTTS
	}
	// What the first handshake brings along is not a connection's.
	warm, err := connectMany(port, "warm", 100, config)
	if err != nil {
		return 0, 0, err
	}
	wait(ctx, idleRest)
	before, err := g.health(ctx)
	if err != nil {
		return 0, 0, err
	}
	devices, err := connectMany(port, "idle", many, config)
	if err != nil {
		return 0, 0, err
	}
	wait(ctx, idleRest)
	after, err := g.health(ctx)
	closeAll(append(warm, devices...))
	n := int64(many)
	return (after.RSS - before.RSS) / n, (after.Heap - before.Heap) / n, err
}

// connectMany connects devices, a few at a time.
func connectMany(port int, name string, many int, config *tls.Config) (all []net.Conn, err error) {
	const parallel = 8
	var mu sync.Mutex
	var work sync.WaitGroup
	for worker := range parallel {
		work.Go(func() {
			for i := worker; i < many; i += parallel {
				c, e := tlsDevice(port, fmt.Sprint(name, i), config)
				mu.Lock()
				if err = errors.Join(err, e); e == nil {
					all = append(all, c)
				}
				stop := err != nil
				mu.Unlock()
				if stop {
					return
				}
			}
		})
	}
	work.Wait()
	if err != nil {
		closeAll(all)
	}
	return all, err
}

func closeAll[T io.Closer](all []T) {
	for _, c := range all {
		c.Close()
	}
}
