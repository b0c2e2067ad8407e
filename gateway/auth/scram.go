package auth

import (
	"github.com/xdg-go/scram"
)

// SCRAM is the method SCRAM-SHA-256 (RFC 5802, RFC 7677), without channel binding: neither side sends a password, and what the
// server keeps cannot be used to log in. A step costs some HMACs, about ten microseconds. Safe from any goroutine.
//
// Somebody who is not in the file gets answers like everybody else's, and fails at the proof; see [Users].
type SCRAM struct {
	users  *Users
	server *scram.Server
}

// NewSCRAM is the method for these users.
func NewSCRAM(users *Users) *SCRAM {
	server, err := scram.SHA256.NewServer(func(name string) (scram.StoredCredentials, error) {
		return users.credentials(name), nil
	})
	if err != nil {
		panic(err) // it has nothing to fail at
	}
	return &SCRAM{users, server}
}

// Name is part of Method.
func (m *SCRAM) Name() string { return "SCRAM-SHA-256" }

// Begin is part of Method. Any client id will do.
func (m *SCRAM) Begin([]byte) Exchange {
	return &scramExchange{users: m.users, conversation: m.server.NewConversation()}
}

// scramExchange is at most three steps: an empty one if CONNECT brings no data, client-first and client-final. It keeps both
// messages of the first round, less than 4 KiB.
type scramExchange struct {
	users        *Users
	conversation *scram.ServerConversation
	begun        bool
}

// Step is part of Exchange. A refusal has no "e=" message: that would tell why.
func (x *scramExchange) Step(data []byte) (answer []byte, done bool, err error) {
	if len(data) > DataBytesMax {
		return nil, false, ErrRefused
	}
	if len(data) == 0 && !x.begun {
		x.begun = true
		return nil, false, nil // the client speaks first; it may want to be asked (RFC 4422 §3)
	}
	x.begun = true
	text, err := x.conversation.Step(string(data))
	switch {
	case err != nil:
		return nil, false, ErrRefused
	case !x.conversation.Done():
		return []byte(text), false, nil
	case !x.conversation.Valid() || !x.users.has(x.User()) || !x.actsForItself():
		return nil, false, ErrRefused
	}
	return []byte(text), true, nil
}

// actsForItself tells that the device does not ask to be somebody else than it proved to be.
func (x *scramExchange) actsForItself() bool {
	id := x.conversation.AuthzID()
	return id == "" || id == x.User()
}

// User is part of Exchange.
func (x *scramExchange) User() string { return x.conversation.Username() }
