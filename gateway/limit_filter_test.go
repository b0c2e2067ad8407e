package gateway

import (
	"fmt"
	"testing"

	"github.com/tidegate/tidegate/gateway/mqtt"
)

// TestFaultD7WildcardDepth: filters that hear too much are refused one by one, also those of a shared subscription and of devices with commands; the
// others of the packet are made, and other listeners are as they were.
func TestFaultD7WildcardDepth(t *testing.T) {
	t.Parallel()
	r := bounded(t, "wildcard_depth_min=2")
	filters := []string{"#", "+/a", "a/#", "a/+/b", "a/b/#", "a/b/+", "a/b", "$share/g/a/#", "$share/g/a/b/#"}
	const no = mqtt.NotAuthorized
	overBoth(t, r, func(t *testing.T, r *rig, transport string) {
		c, _ := r.connectOn(r.tight(transport, mqtt.V5), "d-"+transport)
		if got, want := fmt.Sprint(c.subscribe(0, filters...)), fmt.Sprint([]mqtt.Reason{no, no, no, no, 0, 0, 0, no, 0}); got != want {
			t.Errorf("%s, want %s", got, want)
		}
		old, _ := r.connectOn(r.tight(transport, mqtt.V311), "old-"+transport)
		if got := old.subscribe(0, "#", "a/b/#"); got[0] != 0x80 || got[1] != 0 {
			t.Errorf("%v", got)
		}
	})
	free := r.connect(mqtt.V5, "free")
	if got := free.subscribe(0, "#"); got[0] != 0 {
		t.Errorf("elsewhere: %v", got)
	}
	j := r.talks(protocolJSON, "j")
	j.says(`{"id":1,"op":"subscribe","filter":"a/#"}`)
	j.fails(1, "bad_filter", false)
	j.says(`{"id":2,"op":"subscribe","filter":"a/b/#"}`)
	j.hears(`{"id":2,"ok":true}`)
}

// TestFaultD7MultiLevel: where # is switched off, + still is not.
func TestFaultD7MultiLevel(t *testing.T) {
	t.Parallel()
	r := bounded(t, "multi_level_available=false")
	overBoth(t, r, func(t *testing.T, r *rig, transport string) {
		c, _ := r.connectOn(r.tight(transport, mqtt.V5), "m-"+transport)
		if got := c.subscribe(0, "#", "a/#", "+/+", "$share/g/a/#"); got[0] != mqtt.NotAuthorized || got[1] != mqtt.NotAuthorized || got[2] != 0 || got[3] != mqtt.NotAuthorized {
			t.Errorf("%v", got)
		}
	})
}
