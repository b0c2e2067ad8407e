package auth

import (
	"context"
	"sync/atomic"

	"github.com/xdg-go/scram"
)

// SCRAM is the method SCRAM-SHA-256 (RFC 5802, RFC 7677), without channel binding: neither side sends a password, and what the
// server keeps cannot be used to log in. A step costs some HMACs, about ten microseconds. Safe from any goroutine.
//
// Somebody who is not in the file gets answers like everybody else's, and fails at the proof; see [Users].
type SCRAM struct{ now atomic.Pointer[scramUsers] }

// scramUsers are the users of a file, and the library's server for them. Read-only.
type scramUsers struct {
	*Users
	server *scram.Server
}

// NewSCRAM is the method for these users.
func NewSCRAM(users *Users) *SCRAM {
	m := &SCRAM{}
	m.Set(users)
	return m
}

// Set has it know others from now on, such as when the file has changed. An exchange that is under way goes on with those before.
func (m *SCRAM) Set(users *Users) {
	server, err := scram.SHA256.NewServer(func(name string) (scram.StoredCredentials, error) {
		return users.credentials(name), nil
	})
	if err != nil {
		panic(err) // it has nothing to fail at
	}
	m.now.Store(&scramUsers{users, server})
}

// Name is part of Method.
func (m *SCRAM) Name() string { return "SCRAM-SHA-256" }

// Begin is part of Method. Any client id will do.
func (m *SCRAM) Begin([]byte) Exchange {
	users := m.now.Load()
	return &scramExchange{method: m, users: users, conversation: users.server.NewConversation()}
}

// Stands is part of Keeper: the user's line is still in the file.
func (m *SCRAM) Stands(mark Mark) bool {
	_, ok := m.now.Load().marks[mark]
	return ok
}

// Authenticate is part of Provider: who shows a password, or nothing, is not known to it.
func (m *SCRAM) Authenticate(context.Context, *Request, int64) (Answer, error) { return Answer{}, nil }

// scramExchange is at most three steps: an empty one if CONNECT brings no data, client-first and client-final. It keeps both
// messages of the first round, less than 4 KiB.
type scramExchange struct {
	method       *SCRAM
	users        *scramUsers
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
	case !x.conversation.Valid() || x.users.find(x.User()) == nil || !x.actsForItself():
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

// Grant is part of Exchange.
func (x *scramExchange) Grant() Answer {
	u := x.users.find(x.User())
	return Answer{Verdict: Allow, User: u.Name, Tenant: u.tenant, ClientID: u.clientID, Standing: Standing{x.method, u.mark}}
}
