package gateway

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/gateway/ws"
)

// BenchmarkDeflateEcho is one device that has compressed messages echoed, a few on the way at a time; an operation is one message there and back.
func BenchmarkDeflateEcho(b *testing.B) {
	for _, size := range []int{1 << 10, 16 << 10, 128 << 10} {
		b.Run(fmt.Sprint("bytes=", size), func(b *testing.B) {
			r := startBench(b, func(c *Config) {
				c.Listeners, c.WebSocket.Compression, c.Diagnostics = []string{"ws://127.0.0.1:0"}, true, true
			})
			c, err := net.Dial("tcp", r.addr)
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			if _, err := c.Write(ws.AppendHandshake(nil, r.addr, "/echo", "", testKey, [2]string{"Sec-WebSocket-Extensions", "permessage-deflate"})); err != nil {
				b.Fatal(err)
			}
			answer := make([]byte, 0, 1024)
			for !strings.HasSuffix(string(answer), "\r\n\r\n") {
				n, err := c.Read(answer[len(answer):cap(answer)])
				if err != nil {
					b.Fatal(err)
				}
				answer = answer[:len(answer)+n]
			}
			var text strings.Builder
			for i := 0; text.Len() < size; i++ {
				fmt.Fprintf(&text, `{"sensor":%d,"value":%d.%d},`, i, i*7919%100, i*31%10)
			}
			message := []byte(pressed(b, text.String()[:size]))
			if _, err := c.Write(message); err != nil {
				b.Fatal(err)
			}
			echo := make([]byte, 1<<20)
			n, err := io.ReadAtLeast(c, echo, 4)
			if err != nil {
				b.Fatal(err)
			}
			head, long := 2, int(echo[1]&0x7F)
			switch long {
			case 126:
				head, long = 4, int(echo[2])<<8|int(echo[3])
			case 127:
				b.Fatal("longer than expected")
			}
			length := head + long
			if _, err := io.ReadFull(c, echo[:length-n]); err != nil {
				b.Fatal(err)
			}
			const ahead = 4
			b.ResetTimer()
			go func() {
				for range ahead {
					_, _ = c.Write(message)
				}
			}()
			for i := range b.N {
				if _, err := io.ReadFull(c, echo[:length]); err != nil {
					b.Fatal(err)
				}
				if i+ahead < b.N {
					if _, err := c.Write(message); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}
