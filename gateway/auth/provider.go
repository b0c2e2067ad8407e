package auth

import "context"

// Provider knows some devices. Safe from any goroutine; it may wait, as it is never asked on a loop.
type Provider interface {
	// Name is the provider in metrics and in the log, such as http.
	Name() string
	// Authenticate says who asks to come in. nowSec is Unix time. It ends with ctx at the latest. An error means that the provider cannot tell
	// now, as who it asks is away; it never holds what the device sent. r is read only, and kept no longer than the call.
	Authenticate(ctx context.Context, r *Request, nowSec int64) (Answer, error)
}
