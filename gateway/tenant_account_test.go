package gateway

import (
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/tidegate/tidegate/bus/bustest"
	"github.com/tidegate/tidegate/gateway/mqtt"
)

// TestTenantAccounts: with the example of the documentation each tenant's services are in a NATS account of their own, where subjects have no prefix, and
// devices answer their requests.
func TestTenantAccounts(t *testing.T) {
	t.Parallel()
	server := bustest.Start(t, bustest.Configured(t, "../docs/examples/tenants-nats.conf"))
	r := start(t, memoryOnly, twoTenants, func(c *Config) {
		c.Tenants[1].Prefix = ""
		c.NATS.URL, c.NATS.User, c.NATS.Password = server.URL(), "gateway", "secret of the gateway"
	})
	service := func(name string) *nats.Conn {
		nc, err := nats.Connect(server.URL(), nats.UserInfo(name, "secret of "+name), nats.Timeout(patience))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(nc.Close)
		return nc
	}
	type side struct {
		c  *client
		nc *nats.Conn
		up *nats.Subscription
	}
	var sides []side
	for _, name := range []string{"acme", "globex"} {
		nc := service(name)
		up, err := nc.SubscribeSync(">")
		if err != nil {
			t.Fatal(err)
		}
		if err := nc.Flush(); err != nil {
			t.Fatal(err)
		}
		c := r.of(name, mqtt.V5, "pump-7")
		c.subscribe(1, "devices/pump-7/down")
		sides = append(sides, side{c, nc, up})
	}
	for i, s := range sides {
		payload := []string{"of acme", "of globex"}[i]
		s.c.publish(1, "devices/pump-7/up", payload)
		m, err := s.up.NextMsg(patience)
		if err != nil || m.Subject != "devices.pump-7.up" || string(m.Data) != payload {
			t.Fatalf("%v %v", m, err)
		}
		answered := make(chan string, 1)
		go func() {
			m, err := s.nc.Request("devices.pump-7.down", []byte(payload), patience)
			if err != nil {
				answered <- err.Error()
				return
			}
			answered <- string(m.Data)
		}()
		ask := s.c.gets("devices/pump-7/down", payload)
		s.c.publish(0, string(ask.Props.ResponseTopic), "yes, "+payload)
		if got := <-answered; got != "yes, "+payload {
			t.Errorf("answer %q", got)
		}
	}
	for _, s := range sides {
		if err := s.nc.Publish("end", nil); err != nil {
			t.Fatal(err)
		}
		for {
			m, err := s.up.NextMsg(patience)
			if err != nil {
				t.Fatal(err)
			}
			if m.Subject == "end" {
				break
			}
			if m.Subject == "devices.pump-7.up" { // the other tenant's would be a second one
				t.Errorf("%s %s", m.Subject, m.Data)
			}
		}
	}
}
