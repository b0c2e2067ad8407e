package ws

import "iter"

// compress/flate cannot be asked for a part of a message: it reads until it has 32 kB, and a few bytes may be as much or a thousand tables of
// Huffman codes for nothing. So it runs as a coroutine, which gives way whenever a step's input or output is used up. That costs a
// switch of some 0.2 us for each step, and a goroutine for each message that takes more than one.

// Inflating inflates one message in steps. It takes about 40 kB once it is used, beside the message; its zero value is ready. Owned
// by one loop.
type Inflating struct {
	f     Inflater
	next  func() (struct{}, bool)
	stop  func()
	taken int // bytes of the payload
	ended bool
	code  CloseCode
	out   []byte
}

// inflatedPerUnit is how many bytes are to be inflated while one is read. A step is counted in units, the work for either: 0.2 us at most.
const inflatedPerUnit = 32

// Begin begins a message of kind op, to be appended to dst. bytesMax is that of Inflater.Append. One that is under way is forgotten.
func (x *Inflating) Begin(dst []byte, op Op, bytesMax int) {
	x.End()
	if bytesMax <= 0 {
		bytesMax = MessageBytesMaxDefault
	}
	x.taken, x.ended, x.code, x.out = 0, false, 0, dst
	x.next, x.stop = iter.Pull(func(yield func(struct{}) bool) {
		x.f.in.pause = func() bool { return yield(struct{}{}) }
		x.out, x.code = x.f.message(dst, op, bytesMax)
		x.ended = true
	})
}

// Step goes on for so many units. payload is the whole payload of the message, the same bytes in each step, borrowed until Step returns. A step may
// take more: as much as 32 kB are. used is what it took. Once it is done, out and code are those of Inflater.Append, and End is due.
func (x *Inflating) Step(payload []byte, units int) (out []byte, code CloseCode, used int, done bool) {
	if len(payload) == 0 {
		return x.out, 0, 0, true
	}
	in := &x.f.in
	if !in.ended {
		in.left = payload[x.taken:]
	}
	in.units = units
	x.next()
	used = units - in.units
	if !in.ended {
		x.taken, in.left = len(payload)-len(in.left), nil
	}
	return x.out, x.code, used, x.ended
}

// End forgets the message.
func (x *Inflating) End() {
	if x.stop != nil {
		x.stop()
	}
	x.next, x.stop, x.out, x.f.in = nil, nil, nil, deflated{}
}
