package gateway

import (
	"bytes"
	"fmt"

	"github.com/tidegate/tidegate/bus"
	"github.com/tidegate/tidegate/gateway/auth"
	"github.com/tidegate/tidegate/gateway/mqtt"
)

// Asked is what somebody wants explained: what a device would be answered.
type Asked struct {
	ClientID, User, Tenant, CN string
	Listener                   int // of Config.Listeners
	Topic                      string
	QoS                        byte
	Retain                     bool
}

// Explanation is what would become of it, and why.
type Explanation struct {
	Allowed bool
	Why     []string // in the order in which it is looked at; the last one decides
}

func (x *Explanation) add(format string, args ...any) {
	x.Why = append(x.Why, fmt.Sprintf(format, args...))
}

// explainer is a shard without devices: what it is asked goes through the code that devices meet.
type explainer struct {
	s *shard
	d *device
	b *Bounds
	q *Asked
}

// newExplainer reads the rules of c, which is valid.
func newExplainer(c *Config, q *Asked) (*explainer, error) {
	g := &Gateway{cfg: *c}
	if err := g.openBounds(); err != nil {
		return nil, err
	}
	if q.Listener < 0 || q.Listener >= len(g.bounds) {
		return nil, fmt.Errorf("there is no listener %d: the configuration has %d, counted from 0", q.Listener, len(g.bounds))
	}
	if err := g.openRules(); err != nil {
		return nil, err
	}
	s := &shard{gw: g, cfg: &g.cfg, rewrites: newRewriteRules(c.TopicRewrite), fileRules: g.rules.inForce()}
	d := &device{more: &deviceMore{who: &identity{user: q.User, tenant: q.Tenant}}}
	if q.CN != "" {
		d.more.who.tls = &auth.Peer{CN: q.CN}
	}
	return &explainer{s, d, &g.bounds[q.Listener], q}, nil
}

// decided says which rule decides what p was asked last.
func (e *explainer) decided(x *Explanation, p *permit, rule int) {
	if p.by == nil {
		x.add("no rule decides; acl.default of the listener is %s", e.b.ACLDefault)
		return
	}
	r := p.by.Rule(rule)
	verb := "denies"
	if r.Allow {
		verb = "allows"
	}
	x.add("%s: the rule for %s %s it", r.Source, r.Filter, verb)
}

// ExplainPublish tells whether a device could publish on a topic. Rules that come with a token or with the answer of a callback are not known here: they
// are asked before those of the file. The error is for a person. Safe from any goroutine.
func ExplainPublish(c *Config, q *Asked) (x Explanation, err error) {
	e, err := newExplainer(c, q)
	if err != nil {
		return x, err
	}
	topic := []byte(q.Topic)
	if !mqtt.ValidTopic(topic) {
		x.add("%q is not a topic: it is empty, or has a wildcard in it", q.Topic)
		return x, nil
	}
	if to := e.s.rewrite(topic, q.ClientID, false); !bytes.Equal(to, topic) {
		x.add("topic_rewrite: it is taken for %s", to)
		topic = to
	}
	if bus.Reserved(topic) {
		x.add("%s", refusedReserved.text())
		return x, nil
	}
	if !e.s.topicWithin(e.b, topic) {
		x.add("%s", e.b.topicFault(topic, refusedTopicBytes).text())
		return x, nil
	}
	if int(q.QoS) > e.b.MaxQoS || q.Retain && !e.b.RetainAvailable {
		x.add("QoS %d, retain %v: the listener does not take that, and closes the connection", q.QoS, q.Retain)
		return x, nil
	}
	p := e.s.permitIn(e.b, e.d, q.ClientID)
	may := p.publish(topic, q.QoS, q.Retain)
	e.decided(&x, &p, may.Rule)
	x.Allowed = may.Allow
	return x, nil
}

// ExplainSubscribe tells whether a device could subscribe to a filter, as ExplainPublish does.
func ExplainSubscribe(c *Config, q *Asked) (x Explanation, err error) {
	e, err := newExplainer(c, q)
	if err != nil {
		return x, err
	}
	filter := []byte(q.Topic)
	if !mqtt.ValidFilter(filter) {
		x.add("%q is not a topic filter", q.Topic)
		return x, nil
	}
	if to := e.s.rewriteFilter(filter, q.ClientID); !bytes.Equal(to, filter) {
		x.add("topic_rewrite: it is taken for %s", to)
		filter = to
	}
	refused := e.s.checkFilter(e.b, filter)
	if refused == refusedNot {
		refused = e.b.refuseFilter(filter, false)
	}
	if refused != refusedNot {
		x.add("%s", refused.text())
		return x, nil
	}
	p := e.s.permitIn(e.b, e.d, q.ClientID)
	qos, may := p.grant(filter, min(q.QoS, byte(e.b.MaxQoS)))
	e.decided(&x, &p, may.Rule)
	if x.Allowed = may.Allow; x.Allowed && qos < q.QoS {
		x.add("it is granted with QoS %d", qos)
	}
	if x.Allowed && bus.Reserved(filter) && !bytes.HasPrefix(filter, []byte("$SYS")) {
		x.add("nothing is delivered by it: what begins with $, _INBOX, _R_, _GR_ or _TG is NATS's own")
	}
	return x, nil
}

// ExplainConnect tells who would be asked about a device that connects, and what becomes of its will on q.Topic, if that is not empty.
func ExplainConnect(c *Config, q *Asked) (x Explanation, err error) {
	e, err := newExplainer(c, q)
	if err != nil {
		return x, err
	}
	x.Allowed = true
	listener := c.Listeners[q.Listener]
	l, err := ParseListener(listener)
	if err != nil {
		return x, err
	}
	anonymous := c.Auth.Anonymous == "anywhere" || c.Auth.Anonymous == "loopback" && l.Addr.Addr().IsLoopback()
	switch {
	case e.b.Auth != noChain:
		n := 0
		for i := range c.Auth.Chains {
			if p := &c.Auth.Chains[i]; p.Chain == e.b.Auth {
				n++
				does := "is asked"
				if p.Type == "scram" {
					does = "is offered to devices that name an authentication method"
				}
				x.add("auth.chains[%d]: %s %s (%d of chain %s)", i, p.Type, does, n, p.Chain)
			}
		}
		x.add("who none of them knows is let in without a password: %v (auth.anonymous is %s)", anonymous, c.Auth.Anonymous)
	case !anonymous:
		x.add("auth.anonymous is %s: it has to authenticate with the method of auth.scram_file", c.Auth.Anonymous)
	default:
		x.add("auth.anonymous is %s and %s has no chain: whoever comes is let in", c.Auth.Anonymous, l)
	}
	if q.Topic == "" {
		return x, nil
	}
	will, err := ExplainPublish(c, q)
	x.add("the will on %s:", q.Topic)
	x.Why, x.Allowed = append(x.Why, will.Why...), will.Allowed
	return x, err
}
