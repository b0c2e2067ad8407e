package bus

import (
	"bytes"
	"encoding/json"
	"strings"

	"github.com/nats-io/nats.go"
)

// putAnswer is what became of a put that was sent.
type putAnswer struct {
	revision uint64
	err      error
	there    bool // there is something to delete
	again    bool // the bucket, or nobody, could take it for now
}

// retainedAsk is where the leader of the bucket tells the last message of a subject.
const retainedAsk = "$JS.API.STREAM.MSG.GET." + retainedStream

// readRetainedAsk reads its answer; there: it is a message, and not a marker of a deletion.
func readRetainedAsk(m *nats.Msg) (revision uint64, there, again bool) {
	var a struct {
		Message struct {
			Seq  uint64 `json:"seq"`
			Head []byte `json:"hdrs"`
		} `json:"message"`
		Error *nats.APIError `json:"error"`
	}
	switch {
	case json.Unmarshal(m.Data, &a) != nil, a.Error != nil && a.Error.ErrorCode != jsNoMessage, a.Error == nil && a.Message.Seq == 0:
		return 0, false, true
	case a.Error != nil:
		return 0, false, false
	}
	marked := bytes.Contains(a.Message.Head, []byte(headerOperation+":")) || bytes.Contains(a.Message.Head, []byte(headerMarker+":"))
	return a.Message.Seq, !marked, false
}

// readRetainedAnswer reads the answer of a stream; again: it, or nobody, could take the message for now.
func readRetainedAnswer(m *nats.Msg) (revision uint64, err error, again bool) {
	var a struct {
		Seq   uint64         `json:"seq"`
		Error *nats.APIError `json:"error"`
	}
	if json.Unmarshal(m.Data, &a) != nil {
		return 0, nil, true // "no responders" has no text
	}
	switch e := a.Error; {
	case e == nil && a.Seq > 0:
		return a.Seq, nil, false
	case e == nil:
		return 0, nil, true
	case e.ErrorCode == jsResources, e.ErrorCode == jsStorage, e.ErrorCode == jsStoreFailed && strings.Contains(e.Description, "maximum"):
		return 0, ErrRetainedFull, false
	case e.Code >= 400 && e.Code < 500 && e.Code != 408 && e.Code != 429:
		return 0, ErrRetainedRefused, false
	}
	return 0, nil, true
}

// Error codes of JetStream.
const (
	jsResources   nats.ErrorCode = 10023 // the account's or server's limits
	jsNoMessage   nats.ErrorCode = 10037
	jsStorage     nats.ErrorCode = 10047
	jsStoreFailed nats.ErrorCode = 10077 // with the limit in its text, if it is one of the stream
)
