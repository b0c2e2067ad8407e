package gateway

import (
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/tidegate/tidegate/gateway/mqtt"
)

// witness is devices that do nothing wrong: one in each shard. Whatever is done to the gateway, they get their PINGRESP
// and their messages, from each other and from NATS.
type witness struct {
	r       *rig
	nc      *nats.Conn
	devices []*client
	n       int
}

func (r *rig) witness() *witness {
	r.t.Helper()
	w := &witness{r: r, nc: r.nats()}
	for shard := range len(r.gw.shards) {
		c := r.connect(mqtt.V5, r.ids("witness", shard, 1)[0])
		c.subscribe(1, "witness")
		w.devices = append(w.devices, c)
	}
	return w
}

// check proves that all is well.
func (w *witness) check() {
	w.r.t.Helper()
	w.n++
	text := fmt.Sprint(w.n)
	for _, c := range w.devices {
		c.ping()
	}
	from := w.devices[w.n%len(w.devices)]
	from.write(mqtt.AppendPublish(nil, from.v, &mqtt.PublishOut{Topic: []byte("witness"), Payload: []byte(text)}))
	for _, c := range w.devices {
		c.gets("witness", text)
	}
	if err := w.nc.Publish("witness", []byte(text)); err != nil {
		w.r.t.Fatal(err)
	}
	for _, c := range w.devices {
		c.gets("witness", text)
	}
}
