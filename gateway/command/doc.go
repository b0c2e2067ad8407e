// Package command is what plain WebSocket devices and the gateway say to each other with a subprotocol: commands, answers and
// messages to and from byte slices, as JSON and as CBOR. docs/websocket-protocol.md is the contract.
//
// It knows no frames, clocks or sessions. What it returns owns its bytes unless a comment says otherwise, and what it appends
// is whole: a JSON text or a CBOR item.
package command
