package gateway

import (
	"strings"

	"github.com/tidegate/tidegate/epoll"
	"github.com/tidegate/tidegate/gateway/command"
	"github.com/tidegate/tidegate/gateway/mqtt"
	"github.com/tidegate/tidegate/session"
)

// onSubscribeCommand subscribes; the answer waits until NATS knows the subscription.
func (s *shard) onSubscribeCommand(c *epoll.Conn, d *device, cmd *command.Command) bool {
	b := s.boundsOf(c)
	cmd.Filter = s.rewriteCommand(cmd.Filter, d)
	filter := []byte(cmd.Filter)
	shared := strings.HasPrefix(cmd.Filter, "$share/")
	if !mqtt.ValidFilter(filter) || s.checkFilter(b, filter) != refusedNot || b.refuseFilter(filter, false) != refusedNot ||
		shared && cmd.NoLocal { // [MQTT-3.8.3-4]
		s.fail(c, d, cmd, command.ErrFilter)
		return true
	}
	s.work += filterWork
	s.filters = append(s.filters[:0], session.Filter{
		Topic: filter, QoS: cmd.QoS, NoLocal: cmd.NoLocal, RetainAsPublished: cmd.RetainAsPublished, RetainHandling: cmd.RetainHandling,
	})
	s.boundFilters(b, false)
	if s.restricts && !s.permitCommand(c, d, cmd) {
		return !c.Closing()
	}
	s.takeFilters(d)
	inside := d.tenant().filterIn(cmd.Filter)
	s.event = session.Event{Kind: session.Subscribe, PacketID: 1, Filters: s.filters}
	s.out.Reset()
	d.sess.Step(s.loop.NowSec(), &s.event, &s.out)
	enc, _ := d.encoding()
	for _, a := range s.out.Sends {
		if a.Kind == session.SendSuback && len(a.Reasons) > 0 && a.Reasons[0] >= 0x80 {
			s.out.Reset()
			s.fail(c, d, cmd, subscribeErrorOf(a.Reasons[0]))
			return true
		}
	}
	s.unwatch(c, d, inside)
	if cmd.Presence {
		s.watch(c, d, inside)
	}
	s.scratch3 = command.AppendOK(s.scratch3[:0], enc, cmd.ID)
	s.finishOrHold(c, s.scratch3)
	return !c.Closing()
}

func (s *shard) onUnsubscribeCommand(c *epoll.Conn, d *device, cmd *command.Command) bool {
	s.work += filterWork
	cmd.Filter = s.rewriteCommand(cmd.Filter, d)
	s.unwatch(c, d, d.tenant().filterIn(cmd.Filter))
	s.filters = append(s.filters[:0], session.Filter{Topic: []byte(cmd.Filter)})
	s.inwardFilters(d)
	s.event = session.Event{Kind: session.Unsubscribe, PacketID: 1, Filters: s.filters}
	s.ok(c, d, cmd)
	return s.step(c, d, &s.event)
}
