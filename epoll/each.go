package epoll

// EachFrom is a part of Each, for owners that must not look at all connections in one tick: it looks at n slots,
// beginning with the one given (1 at first), and returns where to go on, 0 after the last. Who comes meanwhile may be
// left out. Loop goroutine only.
func (l *Loop) EachFrom(slot uint32, n int, f func(c *Conn)) (next uint32) {
	l.checkOwner()
	for ; n > 0 && slot < l.slotsUsed; slot, n = slot+1, n-1 {
		if slot&chunkMask == 0 {
			continue
		}
		if c := l.at(slot); c.is(isLive) && !c.is(isEnded|isFinishing|isDetached) {
			f(c)
		}
	}
	if slot >= l.slotsUsed {
		return 0
	}
	return slot
}
