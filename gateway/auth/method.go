package auth

import "errors"

// Method is one way to authenticate. Safe from any goroutine.
type Method interface {
	// Name is the Authentication Method of CONNECT, compared byte by byte.
	Name() string
	// Begin starts an exchange with a device that wants this client id; empty: it will be assigned one. clientID is borrowed
	// until Begin returns.
	Begin(clientID []byte) Exchange
}

// Exchange is one attempt to authenticate. It must end by itself after a few steps, keep no more than a few times
// [DataBytesMax], and wait for nothing. Owned by one goroutine.
type Exchange interface {
	// Step takes the Authentication Data that the device sent, nil for none, and returns those to answer, nil for none. done: the
	// device has proved to be User. After an error, and after done, there are no more steps. The error is for nobody but
	// tests: a device is never told why. data is borrowed until Step returns, answer is the caller's.
	Step(data []byte) (answer []byte, done bool, err error)
	// User is who the device says it is, empty before it has said so; who it has proved to be once Step said done.
	User() string
	// Grant is an Answer that allows, once Step said done.
	Grant() Answer
}

// DataBytesMax is how much Authentication Data a built-in method takes in one step; more is refused.
const DataBytesMax = 1024

// ErrRefused is what an exchange says to a device that did not prove who it is.
var ErrRefused = errors.New("auth: refused")
