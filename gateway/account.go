package gateway

import "sync/atomic"

// account is what waits for the devices of a tenant, on all loops. Safe from any goroutine.
type account struct {
	bytesMax int64 // 0: no bound, and nothing is counted
	bytes    atomic.Int64
}

// HasRoom is part of session.Account. Loops that ask at the same time may all be told yes: the bound is passed by one message of each at most.
func (a *account) HasRoom(bytes int) bool { return a.bytes.Load()+int64(bytes) <= a.bytesMax }

// Add is part of session.Account.
func (a *account) Add(bytes int) { a.bytes.Add(int64(bytes)) }
