package ws

import (
	"bytes"
	"fmt"
	"testing"
)

func BenchmarkReader(b *testing.B) {
	for _, c := range []struct {
		name string
		op   Op
		size int
	}{{"binary64", OpBinary, 64}, {"text64", OpText, 64}, {"binary16k", OpBinary, 16 << 10}, {"text16k", OpText, 16 << 10}} {
		b.Run(c.name, func(b *testing.B) {
			// A mask of zeros would be skipped: the frame is unmasked in place and so masked again by the next round.
			in := AppendMasked(nil, c.op, bytes.Repeat([]byte{0}, c.size), [4]byte{1, 2, 3, 4})
			lim := &Limits{}
			b.SetBytes(int64(len(in)))
			b.ReportAllocs()
			for b.Loop() {
				var r Reader
				if _, n, _ := r.Next(in, lim); n != len(in) {
					b.Fatal(n)
				}
			}
		})
	}
}

func BenchmarkAppendFrame64(b *testing.B) {
	payload, dst := make([]byte, 64), make([]byte, 0, 128)
	b.ReportAllocs()
	for b.Loop() {
		dst = AppendFrame(dst[:0], OpBinary, payload)
	}
}

func BenchmarkBeginEnd64(b *testing.B) {
	payload, dst := make([]byte, 64), make([]byte, 0, 128)
	b.ReportAllocs()
	for b.Loop() {
		d, mark := BeginFrame(dst[:0])
		dst = EndFrame(append(d, payload...), mark, OpBinary)
	}
}

func BenchmarkUpgrade(b *testing.B) {
	p, in, dst := testPolicy(), []byte(request(getMQTT)), make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, n, _ := p.Upgrade(dst[:0], in); n != len(in) {
			b.Fatal(n)
		}
	}
}

// reading is what devices say, JSON of n bytes with numbers that differ.
func reading(n int) []byte {
	var p []byte
	for i := 0; len(p) < n; i++ {
		p = fmt.Appendf(p, `{"sensor":"t-%d","at":%d,"celsius":%d.%d},`, i%17, 1700000000+i*37, 15+i*7%20, i%10)
	}
	return p[:n]
}

func BenchmarkDeflate(b *testing.B) {
	for _, n := range []int{256, 1 << 10, 4 << 10, 64 << 10} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var f Deflater
			payload := reading(n)
			dst := f.AppendFrame(nil, OpText, payload)
			b.SetBytes(int64(n))
			b.ReportAllocs()
			for b.Loop() {
				dst = f.AppendFrame(dst[:0], OpText, payload)
			}
			b.ReportMetric(float64(len(dst))/float64(n), "out/in")
		})
	}
}

func BenchmarkInflate(b *testing.B) {
	for _, n := range []int{256, 1 << 10, 4 << 10, 64 << 10} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var f Inflater
			in := deflatedBy(b, 6, reading(n))
			dst, _ := f.Append(nil, OpText, in, 0)
			b.SetBytes(int64(n))
			b.ReportAllocs()
			for b.Loop() {
				dst, _ = f.Append(dst[:0], OpText, in, 0)
			}
		})
	}
}
