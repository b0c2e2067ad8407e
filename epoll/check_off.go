//go:build !race && !gwcheck

package epoll

// checked tells that this is no check build; the rest are the same names as in check_on.go, empty.
const checked = false

type owner struct{}

func (*owner) enter() {}
func (*owner) leave() {}

func (*Loop) checkOwner() {}

func checkLive(*Conn) {}

func mangle([]byte) {}

func (*Loop) checkInvariants() {}

func (*Loop) checkAll() {}
