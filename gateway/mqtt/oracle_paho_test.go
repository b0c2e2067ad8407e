package mqtt

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	paho "github.com/eclipse/paho.golang/packets"
)

// The second opinion on MQTT 5, from a client's side: what we accept paho must accept, read the same, and write in
// a form that we read the same.

// pahoExcuse says why paho refuses or misreads a packet that is right, or nothing when it has no such excuse.
func pahoExcuse(packet []byte, p *Packet) string {
	switch {
	case p.Version != V5:
		return "paho's codec is for MQTT 5 only"
	case p.Type == TypeDisconnect && len(packet) == 2:
		return "a DISCONNECT without body is normal disconnection (§3.14.2.1)"
	case len(p.Props.SubscriptionIDs) > 1:
		return "paho keeps only the last subscription identifier of a PUBLISH"
	}
	return ""
}

func FuzzOraclePaho(f *testing.F) {
	seed(f)
	var p, again Packet
	f.Fuzz(func(t *testing.T, packet []byte, _ byte) {
		if Decode(packet, V5, &p) != Success || pahoExcuse(packet, &p) != "" {
			return
		}
		control, err := paho.ReadPacket(bytes.NewReader(packet))
		if err != nil {
			t.Fatalf("we take % x, paho says %v", packet, err)
		}
		if ours, other := wordsOf(&p), wordsOfPaho(control); ours != other {
			t.Fatalf("% x\nours %s\npaho %s", packet, ours, other)
		}
		var written bytes.Buffer
		if _, err := control.WriteTo(&written); err != nil {
			t.Fatal(err)
		}
		if pahoForgets(&p) != "" {
			return
		}
		if r := Decode(written.Bytes(), V5, &again); r != Success {
			t.Fatalf("paho writes % x as % x: %s", packet, written.Bytes(), r)
		}
		if a, b := wordsOf(&p), wordsOf(&again); a != b {
			t.Fatalf("% x, written % x\n was %s\n now %s", packet, written.Bytes(), a, b)
		}
	})
}

// pahoForgets says what paho leaves out when it writes a packet.
func pahoForgets(p *Packet) string {
	if p.Type == TypeConnect && p.Connect.WillProps.Raw != nil {
		return "paho writes only some of a will's properties"
	}
	for _, x := range []*Properties{&p.Props, &p.Connect.WillProps} {
		if emptyStrings(x) > 0 {
			return "paho leaves out strings that are empty, even an authentication method"
		}
	}
	return ""
}

// wordsOfPaho prints a packet in the words of wordsOf.
func wordsOfPaho(p *paho.ControlPacket) string {
	var dup, retain bool
	var qos byte
	var body string
	x := &paho.Properties{}
	switch c := p.Content.(type) {
	case *paho.Connect:
		will := c.WillProperties
		if will == nil {
			will = &paho.Properties{}
		}
		body = fmt.Sprintf(" %d %q %t %d %q %q %q %t %t %t %d %t %q %q %s", c.ProtocolVersion, c.ProtocolName, c.CleanStart, c.KeepAlive, c.ClientID,
			c.Username, c.Password, c.UsernameFlag, c.PasswordFlag, c.WillFlag, c.WillQOS, c.WillRetain, c.WillTopic, c.WillMessage, wordsOfPahoProps(will))
		x = c.Properties
	case *paho.Connack:
		body, x = fmt.Sprintf(" %t %d", c.SessionPresent, c.ReasonCode), c.Properties
	case *paho.Publish:
		dup, retain, qos = c.Duplicate, c.Retain, c.QoS
		body, x = fmt.Sprintf(" %q %q", c.Topic, c.Payload), c.Properties
	case *paho.Puback:
		body, x = fmt.Sprintf(" false %d", c.ReasonCode), c.Properties
	case *paho.Pubrec:
		body, x = fmt.Sprintf(" false %d", c.ReasonCode), c.Properties
	case *paho.Pubrel:
		body, x = fmt.Sprintf(" false %d", c.ReasonCode), c.Properties
	case *paho.Pubcomp:
		body, x = fmt.Sprintf(" false %d", c.ReasonCode), c.Properties
	case *paho.Subscribe:
		for _, s := range c.Subscriptions {
			body += fmt.Sprintf(" %q %d %t %t %d", s.Topic, s.QoS, s.NoLocal, s.RetainAsPublished, s.RetainHandling)
		}
		x = c.Properties
	case *paho.Unsubscribe:
		for _, topic := range c.Topics {
			body += fmt.Sprintf(" %q 0 false false 0", topic)
		}
		x = c.Properties
	case *paho.Suback:
		body, x = codes(c.Reasons), c.Properties
	case *paho.Unsuback:
		body, x = codes(c.Reasons), c.Properties
	case *paho.Disconnect:
		body, x = fmt.Sprintf(" false %d", c.ReasonCode), c.Properties
	case *paho.Auth:
		body, x = fmt.Sprintf(" false %d", c.ReasonCode), c.Properties
	}
	return fmt.Sprintf("%t %t %d %d", dup, retain, qos, p.PacketID()) + body + wordsOfPahoProps(x)
}

func codes(reasons []byte) (s string) {
	for _, r := range reasons {
		s += fmt.Sprintf(" %d", r)
	}
	return s
}

func wordsOfPahoProps(p *paho.Properties) string {
	var b strings.Builder
	fmt.Fprint(&b, number(p.SessionExpiryInterval), number(p.MaximumPacketSize), number(p.MessageExpiry), number(p.WillDelayInterval), number(p.ReceiveMaximum),
		number(p.TopicAliasMaximum), number(p.TopicAlias), number(p.ServerKeepAlive), number(p.PayloadFormat), number(p.MaximumQOS), number(p.RequestProblemInfo),
		number(p.RequestResponseInfo), number(p.RetainAvailable), number(p.WildcardSubAvailable), number(p.SubIDAvailable), number(p.SharedSubAvailable))
	var ids []int
	if p.SubscriptionIdentifier != nil {
		ids = append(ids, *p.SubscriptionIdentifier)
	}
	fmt.Fprintf(&b, " %v %q %q %q %q %q %q %q %q %q", ids, p.ContentType, p.ResponseTopic, p.CorrelationData, p.AssignedClientID, p.AuthMethod, p.AuthData,
		p.ReasonString, p.ServerReference, p.ResponseInfo)
	for _, u := range p.User {
		fmt.Fprintf(&b, " %q=%q", u.Key, u.Value)
	}
	return b.String()
}

// number is the value of an optional property, 0 when it is absent.
func number[T byte | uint16 | uint32](p *T) T {
	if p == nil {
		return 0
	}
	return *p
}
