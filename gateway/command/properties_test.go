package command

import (
	"runtime"
	"strings"
	"testing"
)

// TestPropertiesAmplify: what a frame of properties takes in memory while it is read is of the order of the frame.
func TestPropertiesAmplify(t *testing.T) {
	for _, many := range []string{"[],", `["",""],`, `["",` + strings.Repeat(`"",`, 1000) + `""],`} {
		frame := []byte(`{"op":"publish","topic":"a","properties":[` + strings.Repeat(many, 1<<19/len(many)) + `[]],"id":7}`)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		list, _ := Decode(JSON, frame, nil)
		runtime.ReadMemStats(&after)
		if list[0].Bad == nil || list[0].ID != 7 {
			t.Errorf("%.10s: %v, id %d", many, list[0].Bad, list[0].ID)
		}
		if got := after.TotalAlloc - before.TotalAlloc; got > uint64(4*len(frame)) {
			t.Errorf("%.10s: a frame of %d bytes took %d", many, len(frame), got)
		}
	}
}

// TestPropertiesShape: a wrong pair, or no pairs at all, is told by name, and with the id behind it.
func TestPropertiesShape(t *testing.T) {
	for text, want := range map[string]bool{
		`[]`: true, `null`: true, `[["a","b"]]`: true, `[["a","b"],["a","c"]]`: true,
		`7`: false, `{}`: false, `"x"`: false, `[7]`: false, `[["a"]]`: false, `[["a","b","c"]]`: false, `[["a",7]]`: false, `[{}]`: false,
	} {
		list, _ := Decode(JSON, []byte(`{"op":"publish","topic":"a","properties":`+text+`,"id":7}`), nil)
		if bad := list[0].Bad; bad == nil != want || list[0].ID != 7 || bad != nil && !strings.HasPrefix(bad.Message, "properties must be ") {
			t.Errorf("%s: %v, id %d", text, bad, list[0].ID)
		}
	}
}
