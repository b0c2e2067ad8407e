package gateway

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/tidegate/tidegate/gateway/mqtt"
)

// TestAdminPages: health names its checks, metrics tell every loop and what devices did.
func TestAdminPages(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.connect(4, "one").ping()
	get := func(path string) (int, string) {
		resp, err := http.Get(fmt.Sprintf("http://%v%s", r.gw.Addrs().Admin, path))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(body)
	}
	for path, wants := range map[string][]string{
		"/livez":          {"ok\n"},
		"/readyz?verbose": {"[+]loops 2, 1 sockets\n", "[+]nats connected to ", "[+]accepting yes\n", " MiB free in ", "ready\n"},
		"/metrics": {
			"gateway_connections{protocol=\"mqtt3.1.1\",transport=\"tcp\"} 1\n", "gateway_loop_lag_seconds{loop=\"1\"}",
			"gateway_packets_received_total{type=\"pingreq\"} 1\n", "gateway_data_free_bytes", "gateway_nats_connected 1\n",
		},
	} {
		status, body := get(path)
		if status != http.StatusOK {
			t.Errorf("%s: status %d", path, status)
		}
		for _, want := range wants {
			if !strings.Contains(body, want) {
				t.Errorf("%s has no %q:\n%.600s", path, want, body)
			}
		}
	}
	if status, _ := get("/nothing"); status != http.StatusNotFound {
		t.Errorf("status %d for an unknown path", status)
	}
}

// TestScrapesAtATime: who asks is told what is true by then, however many others ask.
func TestScrapesAtATime(t *testing.T) {
	t.Parallel()
	r := start(t, unrecorded)
	c := r.connect(mqtt.V5, "pings")
	stop := make(chan struct{})
	var others sync.WaitGroup
	for range 4 {
		others.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					r.gw.snapshots()
				}
			}
		})
	}
	for i := range uint64(500) {
		c.ping()
		if n := r.sum().packetsIn[mqtt.TypePingreq]; n != i+1 {
			t.Errorf("%d of %d pings are counted", n, i+1)
			break
		}
	}
	close(stop)
	others.Wait()
}
