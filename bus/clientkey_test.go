package bus

import (
	"bytes"
	"testing"
)

func TestClientKeyTable(t *testing.T) {
	for id, key := range map[string]string{
		"": "=", "pump-7_A": "pump-7_A", "a b": "a=20b", "a.b/*>": "a=2Eb=2F=2A=3E", "=": "=3D", "ä": "=C3=A4", "\x00": "=00",
	} {
		if got := string(AppendClientKey(nil, []byte(id))); got != key {
			t.Errorf("%q: %q, want %q", id, got, key)
		}
		if got, ok := AppendClientID([]byte("x"), []byte(key)); !ok || string(got) != "x"+id {
			t.Errorf("%q: %q, want %q", key, got, id)
		}
	}
	for _, key := range []string{"", "==", "=2", "=2e", "=41", "a=", "a b", "a.b", "=GG", "ä"} {
		if got, ok := AppendClientID([]byte("x"), []byte(key)); ok || string(got) != "x" {
			t.Errorf("%q: %q", key, got)
		}
	}
}

func FuzzClientKey(f *testing.F) {
	f.Add([]byte("pump-7"), []byte("=20x"))
	f.Fuzz(func(t *testing.T, id, key []byte) {
		there := AppendClientKey(nil, id)
		if back, ok := AppendClientID(nil, there); !ok || !bytes.Equal(back, id) {
			t.Fatalf("%q: %q: %q", id, there, back)
		}
		for _, c := range there {
			if !keyPlain[c] && c != '=' {
				t.Fatalf("%q: %q", id, there)
			}
		}
		if back, ok := AppendClientID(nil, key); ok && !bytes.Equal(AppendClientKey(nil, back), key) {
			t.Fatalf("%q is read as %q, whose key is another", key, back)
		}
	})
}
