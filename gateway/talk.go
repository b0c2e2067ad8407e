package gateway

import (
	"github.com/tidegate/tidegate/epoll"
	"github.com/tidegate/tidegate/gateway/command"
	"github.com/tidegate/tidegate/gateway/ws"
)

// The commands of plain devices with a subprotocol; docs/websocket-protocol.md is the contract.

// talk is what such a device has beside other devices. Owned by one loop.
type talk struct {
	run      *command.Run // messages of this tick that go in one frame; nil: none
	watches  []string     // filters whose presence it is told
	requests int          // its requests and presence questions that are unanswered
	tokenSec uint32       // when its token expires, by the loop's clock; 0: never
	bad      uint8        // bad commands in succession
	done     uint8        // commands of the array at hand that were carried out before it had to wait
	arrays   bool         // it takes them
}

// badMax is how many bad commands in succession close a connection.
const badMax = 16

// talks tells whether a device has commands.
func (d *device) talks() bool { return d.wire == wireJSON || d.wire == wireCBOR }

// encoding is how the commands of a device are written, op the frames they come in.
func (d *device) encoding() (enc command.Encoding, op ws.Op) {
	if d.wire == wireCBOR {
		return command.CBOR, ws.OpBinary
	}
	return command.JSON, ws.OpText
}

// workPerByte has reading a frame count as work in the turn of a connection: in a millisecond 100 kB of JSON can be read.
const workPerByte = 2

// onTalk handles one frame of commands; false: the connection is closed, or its turn is over in the middle of an array, which is to
// be offered again as it is.
func (s *shard) onTalk(c *epoll.Conn, d *device, op ws.Op, frame []byte) bool {
	s.work += packetWork + len(frame)*workPerByte
	enc, want := d.encoding()
	if op != want {
		return s.bad(c, d, &command.Command{Bad: command.ErrCommand})
	}
	list, array := command.Decode(enc, frame, s.commands[:0])
	if array {
		s.answering = d
	}
	t, read := d.more.talk, s.work
	i := int(t.done)
	for t.done = 0; i < len(list) && s.onCommand(c, d, &list[i]); i++ {
		if i+1 < len(list) && s.endsTurn(c, d, s.work-read) {
			t.done = uint8(i + 1)
			break
		}
	}
	waits := d.awaits || d.state == stateMoving
	if waits { // connect is carried out when its answer is here, or where the device's home is
		t.done = uint8(i)
	}
	s.endAnswers(c, d)
	clear(list)
	s.commands = list
	return t.done == 0 && !waits && !c.Closing()
}

// endsTurn tells whether the rest of an array waits: for room in the uplink, or for the next tick after so much work. Reading the array
// is no part of that, or a long one would be read again for each of its commands.
func (s *shard) endsTurn(c *epoll.Conn, d *device, work int) bool {
	if s.full() {
		s.pausePublisher(c, d)
		c.PauseRead()
		return true
	}
	return work >= s.share() && s.overworked(c, d)
}

// onCommand carries out one command; false: the connection is closed.
func (s *shard) onCommand(c *epoll.Conn, d *device, cmd *command.Command) bool {
	s.work++
	switch {
	case cmd.Bad != nil:
		return s.bad(c, d, cmd)
	case d.state == stateOpening && cmd.Op != command.Connect:
		s.count.badCommands++
		s.fail(c, d, cmd, command.ErrNotConnected)
		s.close(c, d, reasonBadCommands)
		return false
	}
	d.more.talk.bad = 0
	switch cmd.Op {
	case command.Connect:
		return s.onConnectCommand(c, d, cmd)
	case command.Publish:
		return s.onPublishCommand(c, d, cmd)
	case command.Reply:
		return s.onReply(c, d, cmd)
	case command.Subscribe:
		return s.onSubscribeCommand(c, d, cmd)
	case command.Unsubscribe:
		return s.onUnsubscribeCommand(c, d, cmd)
	case command.Ack:
		return s.onAck(c, d, cmd)
	case command.Request:
		return s.onRequest(c, d, cmd)
	case command.Presence:
		s.onPresence(c, d, cmd)
	case command.Refresh:
		s.onRefresh(c, d, cmd)
		return !c.Closing()
	case command.Ping:
		s.ok(c, d, cmd)
	}
	return true
}

// bad answers what is no command; false: it was one too many.
func (s *shard) bad(c *epoll.Conn, d *device, cmd *command.Command) bool {
	s.count.badCommands++
	s.fail(c, d, cmd, cmd.Bad)
	t := d.more.talk
	if t.bad++; t.bad >= badMax {
		s.close(c, d, reasonBadCommands)
		return false
	}
	return true
}

// ok answers a command that has nothing more to tell; one without an id gets no answer.
func (s *shard) ok(c *epoll.Conn, d *device, cmd *command.Command) {
	if cmd.ID == 0 {
		return
	}
	enc, _ := d.encoding()
	s.scratch3 = command.AppendOK(s.scratch3[:0], enc, cmd.ID)
	s.say(c, d, s.scratch3)
}

// fail answers a command that failed, with an id or without.
func (s *shard) fail(c *epoll.Conn, d *device, cmd *command.Command, e *command.Error) {
	enc, _ := d.encoding()
	s.scratch3 = command.AppendError(s.scratch3[:0], enc, cmd.ID, e)
	s.say(c, d, s.scratch3)
}

// say sends one item in a frame of its own, or with the other answers to an array.
func (s *shard) say(c *epoll.Conn, d *device, item []byte) {
	enc, op := d.encoding()
	if s.answering == d {
		s.answers.Keep(append(s.answers.Next(enc), item...))
		return
	}
	s.endRun(c, d)
	c.End(s.appendMessage(d, c.Begin(), op, item))
}

// endAnswers sends the answers to an array that are ready.
func (s *shard) endAnswers(c *epoll.Conn, d *device) {
	if s.answering != d {
		return
	}
	s.answering = nil
	if s.answers.Len() == 0 || d.state == stateDraining {
		s.answers = command.Run{}
		return
	}
	s.endRun(c, d)
	s.sendRun(c, d, &s.answers, false)
}

// sendRun sends a run in one frame.
func (s *shard) sendRun(c *epoll.Conn, d *device, r *command.Run, bare bool) {
	enc, op := d.encoding()
	if d.reader.Deflates() {
		s.scratch3 = r.AppendTo(s.scratch3[:0], enc, bare)
		c.End(s.appendMessage(d, c.Begin(), op, s.scratch3))
		return
	}
	dst, mark := ws.BeginFrame(c.Begin())
	c.End(ws.EndFrame(r.AppendTo(dst, enc, bare), mark, op))
}
