package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// besieged is a gateway to attack, as it would stand on a public address: a listener of every kind, and bounds on what one
// device and one address may do. Good devices come from below 127.192.0.0 (sourceOf), which is not bounded; attackers from
// above. Owned by one goroutine.
type besieged struct {
	doors   doors
	admin   string
	process int // its id
	settle  time.Duration
	stop    func() error
}

// doors are the ports of a gateway by what is spoken there.
type doors struct {
	MQTT, WS, Any, MQTTS, WSS, TLS int
}

// besiegedConfig is the file of such a gateway: listeners, bounds, and what the two commands want of it beside.
const besiegedConfig = `node: besieged
admin: 127.0.0.1:%d
data: data
log: {level: error, format: json}
listeners:
  - mqtt://127.0.0.1:%d
  - ws://127.0.0.1:%d
  - any://127.0.0.1:%d
  - mqtts://127.0.0.1:%d
  - wss://127.0.0.1:%d
  - tls://127.0.0.1:%d
nats: {listen: ""}
tls:
  certificates:
    - cert: server.pem
      key: server.key
websocket: {compression: true}
durable: {default: memory}
presence: {records: false}
bans: {shared: false}
`

// boundedConfig bounds devices and addresses; boundlessConfig lets them do what they want, and forgets it at once.
const (
	boundedConfig = `mqtt: {wildcard_depth_min: 1, retained_max: 10000, retained_bytes_max: 16777216}
session: {expiry_max: 1m}
limits:
  connect_time: 5s
  packet_time: 5s
  stall_time: 5s
  packet_rate: 200
  byte_rate: 262144
  rate_burst: 1s
  per_address:
    connections_max: 1000
    connect_rate: 50
    connect_burst: 100
    exempt: [127.0.0.0/9, 127.128.0.0/10]
`
	boundlessConfig = `mqtt: {retained_max: 1000, retained_bytes_max: 1048576, sys_interval: 0s}
session: {expiry_max: 1s, max: 20000}
limits: {per_address: {exempt: [127.0.0.0/8]}}
`
)

// besiege starts such a gateway; more is the rest of its configuration.
func besiege(ctx context.Context, y *yard, more string) (b *besieged, err error) {
	servers, err := newRack()
	if err != nil {
		return nil, err
	}
	b = &besieged{settle: settleTime, stop: servers.stop}
	var ports [7]int
	for i := range ports {
		if ports[i], err = freePort(); err != nil {
			return nil, errors.Join(err, b.stop())
		}
	}
	b.doors = doors{ports[1], ports[2], ports[3], ports[4], ports[5], ports[6]}
	b.admin = fmt.Sprintf("127.0.0.1:%d", ports[0])
	text := fmt.Sprintf(besiegedConfig, ports[0], ports[1], ports[2], ports[3], ports[4], ports[5], ports[6]) + more
	if err := os.WriteFile(filepath.Join(servers.dir, "gateway.yaml"), []byte(text), 0o600); err != nil {
		return nil, errors.Join(err, b.stop())
	}
	if err := writeCertificate(servers.dir); err != nil {
		return nil, errors.Join(err, b.stop())
	}
	cmd := exec.Command(y.gateway(), "-c", "gateway.yaml")
	cmd.Env = plainEnv(os.Environ())
	if err := servers.start(ctx, "gateway", cmd); err != nil {
		return nil, errors.Join(err, b.stop())
	}
	b.process = servers.servers[0].cmd.Process.Pid
	return b, nil
}

// writeCertificate makes the gateway's certificate, by itself, for 127.0.0.1.
func writeCertificate(dir string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	write := func(name, kind string, der []byte) error {
		return os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
	}
	return errors.Join(write("server.pem", "CERTIFICATE", cert), write("server.key", "PRIVATE KEY", secret))
}

// health is what a gateway has at one time.
type health struct {
	RSS         int64 `json:"rss"`
	Heap        int64 `json:"heap"`
	Descriptors int   `json:"descriptors"`
	Goroutines  int   `json:"goroutines"`
	Sockets     int   `json:"sockets"`
	Panics      int   `json:"panics"`
}

// health asks the process and its metrics.
func (b *besieged) health(ctx context.Context) (h health, err error) {
	u, err := processUsage(b.process)
	if err != nil {
		return h, err
	}
	h.RSS = u.RSS
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", b.process))
	if err != nil {
		return h, err
	}
	h.Descriptors = len(open)
	values, err := scrape(ctx, b.admin)
	h.Heap, h.Goroutines, h.Sockets, h.Panics = int64(values["gateway_heap_bytes"]), int(values["gateway_goroutines"]), int(values["gateway_sockets"]), int(values["gateway_panics_total"])
	return h, err
}

// scrape reads the metrics of a gateway, those with labels as their sum.
func scrape(ctx context.Context, admin string) (map[string]float64, error) {
	ctx, stop := context.WithTimeout(ctx, storeTimeout)
	defer stop()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+admin+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	req.Close = true // no descriptor of the gateway stays open for us
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("/metrics: %s", answer.Status)
	}
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return nil, err
	}
	values := map[string]float64{}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		name, value, ok := strings.Cut(lines.Text(), " ")
		if labelled := strings.IndexByte(lines.Text(), '}'); labelled > 0 {
			name, value = lines.Text()[:strings.IndexByte(lines.Text(), '{')], lines.Text()[labelled+2:]
		}
		if v, err := strconv.ParseFloat(value, 64); ok && err == nil {
			values[name] += v
		}
	}
	return values, nil
}

// settleTime is how long a gateway may take to forget those who have gone: the longest deadline of its configuration, and a session's end.
const settleTime = 30 * time.Second

// spareGoroutines is how many a gateway keeps for the next TLS handshakes, and did not have before the first.
const spareGoroutines = 8

// settled waits until the gateway has no more descriptors than before, and no more goroutines but those, or its time to settle is over.
func (b *besieged) settled(ctx context.Context, before *health) (h health, err error) {
	for deadline := time.Now().Add(b.settle); ; wait(ctx, time.Second/4) {
		h, err = b.health(ctx)
		if err != nil || ctx.Err() != nil || time.Now().After(deadline) || (h.Descriptors <= before.Descriptors && h.Goroutines <= before.Goroutines+spareGoroutines) {
			return h, err
		}
	}
}

// leftovers is the musts of a gateway that all have left.
func leftovers(idle, after *health) []must {
	return []must{
		none("panics", uint64(after.Panics), fmt.Sprint(after.Panics)),
		none("descriptors more than at the start", uint64(max(0, after.Descriptors-idle.Descriptors)), fmt.Sprintf("%d, then %d", idle.Descriptors, after.Descriptors)),
		held("goroutines more than at the start", fmt.Sprintf("≤ %d", spareGoroutines), float64(after.Goroutines-idle.Goroutines), after.Goroutines <= idle.Goroutines+spareGoroutines,
			fmt.Sprintf("%d, then %d", idle.Goroutines, after.Goroutines)),
	}
}
