package bus

import (
	"encoding/json"
	"fmt"

	"github.com/nats-io/nats.go"
)

// apiError is the error in an answer of JetStream's API.
type apiError struct {
	Code        int    `json:"code"`
	ErrCode     uint16 `json:"err_code"`
	Description string `json:"description"`
}

// Error codes of JetStream that mean something to us.
const (
	errStreamNotFound     = 10059
	errNoMessage          = 10037
	errWrongLastSequence  = 10071
	errWrongLastSequence2 = 10164 // the same, where the sequence is not told
	errFiltersOverlap     = 10138
	errFilterNotSubset    = 10093

	// A limit of the stream, the account or the server, or a full disk. Waiting does not help.
	errResources   = 10023
	errMemory      = 10028
	errStorage     = 10047
	errStoreFailed = 10077
)

// Error names JetStream's code and its words.
func (e *apiError) Error() string {
	return fmt.Sprintf("bus: JetStream says %d: %s", e.ErrCode, e.Description)
}

// passing tells whether it may be otherwise in a moment: no leader, starting, too much at once, or a stream that is not made yet.
func (e *apiError) passing() bool {
	switch e.ErrCode {
	case errResources, errMemory, errStorage, errStoreFailed:
		return false
	case errStreamNotFound:
		return true
	}
	return e.Code == 503 || e.Code == 500 || e.Code == 429
}

// readAnswer reads an answer of JetStream's API into v. JSON that does not parse is an answer cut short, to be asked for again.
func readAnswer(m *nats.Msg, v any, e **apiError) sequel {
	if json.Unmarshal(m.Data, v) != nil {
		return again
	}
	if *e != nil && (*e).passing() {
		return again
	}
	return finished
}
