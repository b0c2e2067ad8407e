package gateway

import (
	"crypto/tls"
	"fmt"
	"testing"
	"time"

	paho3 "github.com/eclipse/paho.mqtt.golang"
)

// TestTLSRealPaho: both Paho libraries, by every door and in both versions of TLS, reach each other.
func TestTLSRealPaho(t *testing.T) {
	t.Parallel()
	a := newAuthority(t, t.TempDir(), "ca")
	device := a.issue("device")
	r := start(t, a.secured(a.wants(clientCertsRequired)))
	seen := &record{}
	far := r.dialTLSPaho5(r.mqtt, "far", a.client(showing(device)), seen)
	if err := far.subscribe("real/#", 2); err != nil {
		t.Fatal(err)
	}
	var want []string
	send := func(c real, name string) {
		for qos := range byte(3) {
			if err := c.publish("real/"+name, qos, false, fmt.Sprint(qos)); err != nil {
				t.Fatalf("%s QoS %d: %v", name, qos, err)
			}
			want = append(want, fmt.Sprintf("real/%s %d", name, qos))
		}
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		config := a.client(showing(device), func(c *tls.Config) { c.MinVersion, c.MaxVersion = version, version })
		byALPN := config.Clone()
		byALPN.NextProtos = []string{alpnMQTT}
		for name, c := range map[string]real{
			"5-mqtts":   r.dialTLSPaho5(r.mqtt, fmt.Sprintf("p5-%x", version), config, &record{}),
			"5-alpn":    r.dialTLSPaho5(r.any, fmt.Sprintf("p5a-%x", version), byALPN, &record{}),
			"3.1-mqtts": r.dialTLSPaho3("ssl://"+r.mqtt, fmt.Sprintf("p3-%x", version), 3, config),
			"4-mqtts":   r.dialTLSPaho3("ssl://"+r.mqtt, fmt.Sprintf("p4-%x", version), 4, config),
			"4-wss":     r.dialTLSPaho3("wss://"+r.ws+"/mqtt", fmt.Sprintf("p4w-%x", version), 4, config),
			"4-one":     r.dialTLSPaho3("wss://"+r.any+"/mqtt", fmt.Sprintf("p4o-%x", version), 4, config),
		} {
			send(c, fmt.Sprintf("%s-%x", name, version))
		}
	}
	r.eventually("all messages", func() bool { return len(seen.all()) >= len(want) })
	checkOnce(t, "far", seen.all(), want, "-")
}

// dialTLSPaho5 connects paho.golang over TLS.
func (r *rig) dialTLSPaho5(addr, id string, config *tls.Config, into *record) real {
	r.t.Helper()
	conn := r.mustTLS(addr, config).conn
	_ = conn.SetDeadline(time.Time{})
	return r.paho5On(conn, id, into)
}

// dialTLSPaho3 connects paho.mqtt.golang over TLS.
func (r *rig) dialTLSPaho3(broker, id string, version uint, config *tls.Config) real {
	r.t.Helper()
	return r.dialPaho3(broker, id, version, &record{}, func(o *paho3.ClientOptions) { o.SetTLSConfig(config) })
}
