package record

import (
	"bytes"
	"errors"
	"testing"
)

// TestEveryBit: a record is refused with any of its bits changed.
func TestEveryBit(t *testing.T) {
	for _, u := range suites {
		a, b := twins(t, u.id)
		k := NewCiphers(8)
		record := a.Seal(k, 1, nil, []byte("every bit of it"))
		for bit := range 8 * len(record) {
			changed := bytes.Clone(record)
			changed[bit/8] ^= 1 << (bit % 8)
			reader := b
			plain, kind, err := reader.Open(k, 2, changed)
			var wrong *Error
			if !errors.As(err, &wrong) || kind != 0 || plain != nil {
				t.Fatalf("suite %#x, bit %d: %q, kind %d, %v", u.id, bit, plain, kind, err)
			}
		}
		if plain, _, err := b.Open(k, 2, record); err != nil || string(plain) != "every bit of it" {
			t.Fatalf("suite %#x: %q, %v", u.id, plain, err)
		}
	}
}

// TestEveryCut: Whole tells the length of a record exactly when the last byte is there.
func TestEveryCut(t *testing.T) {
	a, _ := twins(t, 0x1301)
	record := a.Seal(NewCiphers(8), 1, nil, []byte("some data"))
	stream := append(bytes.Clone(record), record...)
	for cut := range len(stream) + 1 {
		want := 0
		if cut >= len(record) {
			want = len(record)
		}
		if n, err := Whole(stream[:cut]); err != nil || n != want {
			t.Fatalf("cut at %d: %d, %v; want %d", cut, n, err, want)
		}
	}
}

// TestRepeated: a record is good once, and in its order.
func TestRepeated(t *testing.T) {
	for _, u := range suites {
		a, b := twins(t, u.id)
		k := NewCiphers(8)
		first, second := a.Seal(k, 1, nil, []byte("1")), a.Seal(k, 1, nil, []byte("2"))
		if reader := b; !refused(&reader, k, bytes.Clone(second), errForged) {
			t.Errorf("suite %#x: the second record came first", u.id)
		}
		if _, _, err := b.Open(k, 2, bytes.Clone(first)); err != nil {
			t.Fatal(err)
		}
		if !refused(&b, k, first, errForged) {
			t.Errorf("suite %#x: the first record came twice", u.id)
		}
	}
}

func refused(s *State, k *Ciphers, record []byte, want error) bool {
	_, _, err := s.Open(k, 2, record)
	return errors.Is(err, want)
}

func TestRefused(t *testing.T) {
	const v12, v13 = 0xc02b, 0x1301
	long := make([]byte, plainMax+1)
	for name, c := range map[string]struct {
		suite   uint16
		content uint8
		text    []byte
		want    error
	}{
		"1.3: too long":                {v13, typeData, long, errTooLong},
		"1.2: too long":                {v12, typeData, long, errTooLong},
		"1.3: padding and nothing":     {v13, 0, make([]byte, 9), errNoContent},
		"1.3: ChangeCipherSpec inside": {v13, typeChangeCipherSpec, []byte{1}, errContent},
		"1.3: content of no kind":      {v13, 99, []byte{1}, errContent},
		"1.2: ChangeCipherSpec":        {v12, typeChangeCipherSpec, []byte{1}, errContent},
		"1.2: ClientHello":             {v12, typeHandshake, []byte{1, 0, 0, 1, 0}, errRenegotiat},
		"1.2: HelloRequest":            {v12, typeHandshake, []byte{0, 0, 0, 0}, errRenegotiat},
		"1.2: Finished":                {v12, typeHandshake, []byte{20, 0, 0, 0}, errHandshake},
		"1.2: no handshake":            {v12, typeHandshake, nil, errNoContent},
		"1.3: no handshake":            {v13, typeHandshake, nil, errNoContent},
		"1.3: ClientHello":             {v13, typeHandshake, []byte{1, 0, 0, 1, 0}, errHandshake},
		"1.3: CertificateRequest":      {v13, typeHandshake, []byte{13, 0, 0, 1, 0}, errHandshake},
		"1.3: KeyUpdate of two":        {v13, typeHandshake, []byte{24, 0, 0, 1, 2}, errKeyUpdate},
		"1.3: KeyUpdate too long":      {v13, typeHandshake, []byte{24, 0, 0, 2, 0, 0}, errMessage},
		"1.3: KeyUpdate cut":           {v13, typeHandshake, []byte{24, 0, 0, 1}, errMessage},
		"1.3: more behind KeyUpdate":   {v13, typeHandshake, []byte{24, 0, 0, 1, 0, 24, 0, 0, 1, 0}, errHandshake},
		"1.3: message cut":             {v13, typeHandshake, []byte{4, 0, 0}, errMessage},
		"1.3: ticket too long":         {v13, typeHandshake, []byte{4, 255, 0, 0}, errMessage},
		"1.3: alert cut":               {v13, typeAlert, []byte{1}, errAlert},
		"1.2: alert of no level":       {v12, typeAlert, []byte{3, 0}, errAlert},
		"1.2: two alerts":              {v12, typeAlert, []byte{1, 0, 1, 0}, errAlert},
	} {
		a, b := twins(t, c.suite)
		k := NewCiphers(8)
		if !refused(&b, k, a.seal(k, 1, nil, c.content, c.text), c.want) {
			t.Errorf("%s: not refused as %v", name, c.want)
		}
	}
}

// TestRefusedUnsealed: what needs no key to be refused, and with what alert.
func TestRefusedUnsealed(t *testing.T) {
	for name, c := range map[string]struct {
		suite  uint16
		record []byte
		want   Alert
	}{
		"1.3: ChangeCipherSpec":          {0x1301, []byte{20, 3, 3, 0, 1, 1}, AlertUnexpectedMessage},
		"1.3: alert in the clear":        {0x1301, []byte{21, 3, 3, 0, 2, 1, 0}, AlertUnexpectedMessage},
		"1.2: alert in the clear":        {0xcca8, []byte{21, 3, 3, 0, 2, 1, 0}, AlertBadRecordMAC},
		"1.3: no payload":                {0x1301, []byte{23, 3, 3, 0, 0}, AlertBadRecordMAC},
		"1.2: no payload":                {0xc02b, []byte{23, 3, 3, 0, 0}, AlertBadRecordMAC},
		"1.3: longer than its version":   {0x1301, append([]byte{23, 3, 3, 0x41, 1}, make([]byte, 0x4101)...), AlertRecordOverflow},
		"longer than any":                {0xc02b, append([]byte{23, 3, 3, 0x48, 1}, make([]byte, 0x4801)...), AlertRecordOverflow},
		"TLS 1.0":                        {0x1301, []byte{23, 3, 1, 0, 1, 1}, AlertProtocolVersion},
		"HTTP":                           {0x1301, []byte("GET / HTTP/1.1"), AlertUnexpectedMessage},
		"not whole":                      {0x1301, []byte{23, 3, 3, 0, 2, 1}, AlertDecodeError},
		"something behind it":            {0x1301, []byte{23, 3, 3, 0, 2, 1, 2, 3}, AlertDecodeError},
		"a handshake, as when it begins": {0x1301, []byte{22, 3, 1, 0, 1, 1}, AlertUnexpectedMessage},
	} {
		_, s := twins(t, c.suite)
		_, _, err := s.Open(NewCiphers(8), 2, c.record)
		var wrong *Error
		if !errors.As(err, &wrong) || wrong.Alert != c.want || wrong.Received {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

// TestPadding: zeros behind the content type are no data.
func TestPadding(t *testing.T) {
	a, b := twins(t, 0x1301)
	k := NewCiphers(8)
	padded := append([]byte("x"), append([]byte{typeData}, make([]byte, 200)...)...)
	plain, kind, err := b.Open(k, 2, a.seal(k, 1, nil, 0, padded))
	if err != nil || kind != Data || string(plain) != "x" {
		t.Errorf("%q, kind %d, %v", plain, kind, err)
	}
}

// TestNothingOnEnd: empty records are allowed, as many as make sense.
func TestNothingOnEnd(t *testing.T) {
	for _, u := range suites {
		a, b := twins(t, u.id)
		k := NewCiphers(8)
		for range 3 {
			for range nothingsMax {
				if _, kind, err := b.Open(k, 2, a.seal(k, 1, nil, typeData, nil)); err != nil || kind != Handled {
					t.Fatalf("kind %d, %v", kind, err)
				}
			}
			if _, kind, err := b.Open(k, 2, a.Seal(k, 1, nil, []byte("x"))); err != nil || kind != Data {
				t.Fatalf("kind %d, %v", kind, err)
			}
		}
		for range nothingsMax {
			b.Open(k, 2, a.seal(k, 1, nil, typeData, nil))
		}
		if !refused(&b, k, a.seal(k, 1, nil, typeData, nil), errNothing) {
			t.Errorf("suite %#x: endless empty records", u.id)
		}
	}
}

// TestTicketInterrupted: other records may not come between the parts of a message. RFC 8446, 5.1
func TestTicketInterrupted(t *testing.T) {
	a, b := twins(t, 0x1301)
	k := NewCiphers(8)
	if _, _, err := b.Open(k, 2, a.seal(k, 1, nil, typeHandshake, []byte{4, 0, 0, 9, 0})); err != nil {
		t.Fatal(err)
	}
	if !refused(&b, k, a.Seal(k, 1, nil, []byte("x")), errContent) {
		t.Error("data came within a ticket")
	}
}
