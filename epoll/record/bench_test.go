package record

import (
	"crypto/tls"
	"fmt"
	"io"
	"testing"
)

// BenchmarkSeal and BenchmarkOpen: hot is one connection that talks, cold one that is expanded anew for each record.
func BenchmarkSeal(b *testing.B) {
	benchmark(b, func(b *testing.B, a, _ State, k *Ciphers, data []byte, idOf func(int) uint32) {
		dst := make([]byte, 0, SealedLen(len(data)))
		for i := range b.N {
			dst = a.Seal(k, idOf(i), dst[:0], data)
		}
	})
}

func BenchmarkOpen(b *testing.B) {
	benchmark(b, func(b *testing.B, a, r State, k *Ciphers, data []byte, idOf func(int) uint32) {
		a.SetSequence(1, 1)
		sealed, record := a.Seal(k, 0, nil, data), make([]byte, SealedLen(len(data)))
		for i := range b.N {
			r.SetSequence(1, 1)
			copied := record[:copy(record, sealed)]
			if _, _, err := r.Open(k, idOf(i), copied); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func benchmark(b *testing.B, f func(b *testing.B, a, r State, k *Ciphers, data []byte, idOf func(int) uint32)) {
	for _, suite := range []uint16{0x1301, 0x1303, 0xc02f} {
		for _, size := range []int{64, plainMax} {
			for _, heat := range []string{"hot", "cold"} {
				b.Run(fmt.Sprintf("%s/%d/%s", tls.CipherSuiteName(suite), size, heat), func(b *testing.B) {
					a, r := twins(b, suite)
					idOf := func(int) uint32 { return 1 }
					if heat == "cold" {
						idOf = func(i int) uint32 { return uint32(i) }
					}
					b.SetBytes(int64(size))
					b.ReportAllocs()
					f(b, a, r, NewCiphers(8), make([]byte, size), idOf)
				})
			}
		}
	}
}

// BenchmarkCryptoTLS is what the same takes there.
func BenchmarkCryptoTLS(b *testing.B) {
	for _, size := range []int{64, plainMax} {
		data := make([]byte, size)
		b.Run(fmt.Sprintf("%d/Write", size), func(b *testing.B) {
			c := connect(b, kindOf{0x1301, true})
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for range b.N {
				c.peerSends(data)
				c.wire.in.bytes.Reset()
				other := c.peer.NetConn().(*end)
				other.written = other.written[:0]
			}
		})
		b.Run(fmt.Sprintf("%d/Read", size), func(b *testing.B) {
			c := connect(b, kindOf{0x1301, true})
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for i := range b.N {
				if i%64 == 0 {
					b.StopTimer()
					for range 64 {
						c.send(data)
					}
					b.StartTimer()
				}
				if _, err := io.ReadFull(c.peer, data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
