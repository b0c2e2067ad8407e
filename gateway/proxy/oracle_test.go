package proxy

import (
	"bufio"
	"bytes"
	"testing"

	"github.com/pires/go-proxyproto"
)

// agree holds what we read against what go-proxyproto reads. It may refuse what we take: it looks into further types.
func agree(t *testing.T, h Header, in []byte) {
	t.Helper()
	ref, err := proxyproto.Read(bufio.NewReaderSize(bytes.NewReader(in), 2*BytesMax))
	if err != nil {
		return
	}
	from, _, ok := ref.TCPAddrs()
	if !ok {
		t.Fatalf("%q: %v here, no address there", in, h.Source)
	}
	if at := from.AddrPort(); at.Addr().Unmap() != h.Source.Addr() || at.Port() != h.Source.Port() {
		t.Fatalf("%q: %v here, %v there", in, h.Source, at)
	}
}
