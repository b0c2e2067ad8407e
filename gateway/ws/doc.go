// Package ws turns WebSocket handshakes and frames (RFC 6455) to and from byte slices.
//
// It sees bytes only: no sockets, no clocks, no goroutines. A server calls Policy.Upgrade until the handshake is whole,
// then Reader.Next for each chunk of payload; what it sends it appends with AppendFrame, BeginFrame and EndFrame, or
// AppendClose. The other half of the wire (AppendHandshake, ParseHandshake, AppendMasked, ClientReader) serves the
// simulator and tests.
//
// The contract, for both halves:
//
//   - "Not yet enough bytes" is n == 0 with no status and no close code: call again with the same bytes and more.
//   - However TCP cuts a stream, the messages, the answers and the close code are the same.
//   - Whatever a peer can get wrong has one answer: an HTTP status before the handshake is done, a CloseCode after it.
//   - Input is borrowed until the call returns. Payload is unmasked in place, so bytes that Next has consumed are
//     changed; bytes it has not consumed are not.
//   - Memory is bounded by construction: a Reader is 32 bytes, holds no buffer, and never allocates. The only bytes that
//     a caller must keep are an unfinished handshake (Policy.HeaderBytesMax), an unfinished frame header (at most 13
//     bytes) or an unfinished control frame (at most 130 bytes).
//
// The one extension is permessage-deflate (RFC 7692) without context takeover, and only where Policy.Deflate says so: then
// a chunk may be Compressed, its owner collects the message and has the loop's Inflater inflate it, and sends by the loop's
// Deflater. Otherwise a compressed frame has a reserved bit set and ends the connection with 1002.
package ws
