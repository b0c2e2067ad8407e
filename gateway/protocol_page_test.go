package gateway

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/gateway/command"
)

// TestProtocolPage holds docs/websocket-protocol.md to the code: every command in it is one, every answer and message has only
// fields that the gateway writes, and the tables of errors and close codes are complete.
func TestProtocolPage(t *testing.T) {
	page, err := os.ReadFile("../docs/websocket-protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	commands, answers := 0, 0
	for block := range strings.SplitSeq(string(page), "```json\n") {
		block, _, _ = strings.Cut(block, "```")
		for line := range strings.Lines(block) {
			if !strings.HasPrefix(line, "{") {
				continue
			}
			var v map[string]any
			if err := json.Unmarshal([]byte(line), &v); err != nil {
				t.Errorf("%s: %v", line, err)
			}
			op := fmt.Sprint(v["op"])
			fromGateway := v["ok"] != nil || v["error"] != nil || op == "message" || op == "request" && v["call"] != nil || op == "presence" && v["id"] == nil
			if fromGateway {
				answers++
				checkWritten(t, line, v)
				continue
			}
			commands++
			if list, _ := command.Decode(command.JSON, []byte(line), nil); list[0].Bad != nil {
				t.Errorf("%s: %s", line, list[0].Bad.Message)
			}
		}
	}
	if commands < 12 || answers < 10 {
		t.Errorf("only %d commands and %d answers found", commands, answers)
	}
	for _, e := range []*command.Error{
		command.ErrCommand, command.ErrNotConnected, command.ErrBatch, command.ErrPayload, command.ErrTopic, command.ErrFilter, command.ErrCall,
		command.ErrTooLarge, command.ErrQuota, command.ErrRetain, command.ErrUnauthorized, command.ErrUnsupported, command.ErrTooMany,
		command.ErrNoResponders, command.ErrTimeout, command.ErrUnavailable,
	} {
		if row := fmt.Sprintf("| `%s` | %s |", e.Code, map[bool]string{true: "yes", false: "no"}[e.Temporary]); !strings.Contains(string(page), row) {
			t.Errorf("no row %q", row)
		}
	}
	codes := map[string]bool{}
	for _, row := range regexp.MustCompile("(?m)^\\| (4[0-9]{3}) \\| `([a-z_]+)").FindAllStringSubmatch(string(page), -1) {
		codes[row[1]+" "+row[2]] = true
	}
	for r, code := range talkCloses {
		if want := fmt.Sprintf("%d %s", code, reason(r)); code != 0 && reason(r) != reasonFull && !codes[want] { // full is told by HTTP 503
			t.Errorf("no row for %s", want)
		}
		delete(codes, fmt.Sprintf("%d %s", code, reason(r)))
	}
	if len(codes) > 0 {
		t.Errorf("rows that do not exist: %v", codes)
	}
}

// checkWritten looks for the fields of an example among those that the gateway writes.
func checkWritten(t *testing.T, line string, v map[string]any) {
	const enc = command.JSON
	all := command.AppendConnected(nil, enc, 1, &command.Connected{HasToken: true, TokenSec: 1})
	all = append(all, command.AppendError(nil, enc, 1, command.ErrTooMany)...)
	all = append(all, command.AppendPresence(nil, enc, 1, 1, nil, true)...)
	all = append(all, command.AppendPresenceChange(nil, enc, "f", "c", true, true)...)
	all = append(all, command.AppendPresenceChange(nil, enc, "f", "c", false, true)...)
	for _, payload := range []string{"x", "1", "\xff"} {
		all = append(all, command.AppendMessage(nil, enc, &command.Message{
			Call: []byte("c"), Payload: []byte(payload), ContentType: []byte("t"), Properties: make([]command.Property, 1), Ack: 1, Dup: true, Retain: true,
			HasExpiry: true,
		})...)
	}
	for key, value := range v {
		if !strings.Contains(string(all), fmt.Sprintf("%q:", key)) {
			t.Errorf("%s: the gateway writes no %s", line, key)
		}
		if inner, ok := value.(map[string]any); ok && (key == "error" || key == "limits") {
			checkWritten(t, line, inner)
		}
	}
}
