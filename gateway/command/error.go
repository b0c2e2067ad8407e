package command

// Error is why a command failed. Temporary: the same command may succeed later, after RetryMS milliseconds at least if that is
// not 0.
type Error struct {
	Code      string
	Message   string
	Temporary bool
	RetryMS   int
}

// The errors of the contract.
var (
	ErrCommand = &Error{Code: "bad_command", Message: "not an object, or an array of them, with an op among connect, publish, subscribe, unsubscribe, ack, request, reply, presence, refresh and ping"}
	ErrID      = &Error{Code: "bad_command", Message: "id must be a whole number from 1 to 2^53-1"}
	ErrAgain   = &Error{Code: "bad_command", Message: "connect comes once"}

	ErrNotConnected = &Error{Code: "not_connected", Message: "the first command must be connect"}
	ErrBatch        = &Error{Code: "batch_too_long", Message: "more than 64 commands in an array"}
	ErrPayload      = &Error{Code: "bad_payload", Message: "give one of json, text and base64, or in CBOR of data and text"}
	ErrTopic        = &Error{Code: "bad_topic", Message: "not a topic that a device may publish to"}
	ErrFilter       = &Error{Code: "bad_filter", Message: "not a topic filter that a device may subscribe to"}
	ErrNotHeld      = &Error{Code: "bad_filter", Message: "presence is told of filters that the device is subscribed to"}
	ErrCall         = &Error{Code: "bad_call", Message: "not a call of this gateway"}
	ErrTooLarge     = &Error{Code: "too_large", Message: "more than NATS takes in one message"}
	ErrStoreFull    = &Error{Code: "store_full", Message: "the stream that keeps such messages is full", Temporary: true, RetryMS: 5000}
	ErrQuota        = &Error{Code: "quota", Message: "too many subscriptions"}
	ErrRetain       = &Error{Code: "retain_unavailable", Message: "retained messages are switched off"}
	ErrUnauthorized = &Error{Code: "unauthorized", Message: "the token is missing, wrong, expired or of another client"}
	ErrAskedLater   = &Error{Code: "unavailable", Message: "who is asked about tokens can't tell now", Temporary: true, RetryMS: 5000}
	ErrForbidden    = &Error{Code: "forbidden", Message: "this device may not do that: see the permissions of the gateway"}
	ErrUnsupported  = &Error{Code: "unsupported", Message: "this gateway has no tokens"}
	ErrTooMany      = &Error{Code: "too_many_requests", Message: "too many requests are unanswered", Temporary: true, RetryMS: 1000}
	ErrNoResponders = &Error{Code: "no_responders", Message: "no backend answers requests on this topic", Temporary: true, RetryMS: 1000}
	ErrTimeout      = &Error{Code: "timeout", Message: "no answer in time", Temporary: true}
	ErrUnavailable  = &Error{Code: "unavailable", Message: "the backend can't be reached now", Temporary: true, RetryMS: 5000}
)

// Field is the error of a field that is not what it should be.
func Field(name, want string) *Error {
	return &Error{Code: ErrCommand.Code, Message: name + " must be " + want}
}
