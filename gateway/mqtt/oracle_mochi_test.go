package mqtt

import (
	"fmt"
	"strings"
	"testing"

	mochi "github.com/mochi-mqtt/server/v2/packets"
)

// The differential test against mochi's codec. Where we accept a packet mochi must accept it too and read the same
// from it; where we refuse one that mochi takes, the table below must say why we are stricter. Its known faults are
// listed, each with the reason why ours is right.

// theirs decodes a packet with mochi. err is also a panic of its decoder: the one it is known for, a SUBSCRIBE cut
// behind a filter, we refuse.
func theirs(packet []byte, v Version) (pk *mochi.Packet, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	_, body, _, ok := split(packet)
	if !ok {
		return nil, MalformedPacket
	}
	pk = &mochi.Packet{ProtocolVersion: byte(v)}
	if err := pk.FixedHeader.Decode(packet[0]); err != nil {
		return nil, err
	}
	pk.FixedHeader.Remaining = len(body)
	steps := map[Type]struct {
		decode   func([]byte) error
		validate func() mochi.Code
	}{
		TypeConnect: {pk.ConnectDecode, pk.ConnectValidate}, TypeConnack: {pk.ConnackDecode, nil},
		TypePublish: {pk.PublishDecode, func() mochi.Code { return pk.PublishValidate(65535) }},
		TypePuback:  {pk.PubackDecode, nil}, TypePubrec: {pk.PubrecDecode, nil}, TypePubrel: {pk.PubrelDecode, nil}, TypePubcomp: {pk.PubcompDecode, nil},
		TypeSubscribe: {pk.SubscribeDecode, pk.SubscribeValidate}, TypeSuback: {pk.SubackDecode, nil},
		TypeUnsubscribe: {pk.UnsubscribeDecode, pk.UnsubscribeValidate}, TypeUnsuback: {pk.UnsubackDecode, nil},
		TypePingreq: {pk.PingreqDecode, nil}, TypePingresp: {pk.PingrespDecode, nil},
		TypeDisconnect: {pk.DisconnectDecode, nil}, TypeAuth: {pk.AuthDecode, pk.AuthValidate},
	}
	step := steps[Type(packet[0]>>4)]
	if err := step.decode(body); err != nil {
		return nil, err
	}
	if step.validate != nil {
		if code := step.validate(); code != mochi.CodeSuccess {
			return nil, code
		}
	}
	return pk, nil
}

// tooStrict says why mochi refuses a packet that is right, or nothing when it has no such excuse.
func tooStrict(packet []byte, p *Packet) string {
	c := &p.Connect
	switch {
	case p.Type == TypeConnect && c.HasWill && len(c.WillPayload) == 0:
		return "a will may have no payload (§3.1.3.4)"
	case p.Type == TypeConnect && c.HasPassword && len(c.Password) == 0:
		return "a password may be empty (§3.1.3.6)"
	case p.Type == TypeConnect && p.Version == V31:
		return "in 3.1 the remaining length takes precedence over the flags of user name and password"
	case p.Type == TypePublish && p.Props.Has(PropSubscriptionID):
		return "servers send subscription identifiers; mochi only knows the server's side"
	case p.Type == TypeAuth && len(packet) == 2:
		return "an AUTH without body is Success (§3.15.2.1)"
	case p.Version == V31 && p.Type != TypePublish && packet[0]&flagDup != 0:
		return "3.1 sends PUBREL, SUBSCRIBE and UNSUBSCRIBE again with DUP"
	}
	return ""
}

// stricter says why we refuse what mochi takes. The key is the reason we give; the text names mochi's fault or what
// it leaves to its server.
func stricter(packet []byte, v Version, r Reason) string {
	t := Type(packet[0] >> 4)
	switch {
	case t == TypeConnect && (r == TopicNameInvalid || r == ClientIdentifierNotValid):
		return "wildcards in a will topic and the empty id of 3.1 are not looked at"
	case t == TypeConnect && v != V5:
		return "user name not checked for UTF-8, will QoS without will, password without user name, bytes left over"
	case t == TypeConnack && v != V5:
		return "reserved flags, session present with a refusal, unknown return codes and bytes left over are not looked at"
	case (t == TypePublish || t == TypeSubscribe || t == TypeUnsubscribe || t == TypeSuback || t == TypeUnsuback) && r == ProtocolError:
		return "packet identifier 0, empty lists, unknown return codes, retain handling 3, no local on a shared subscription"
	case (t == TypeSubscribe || t == TypeUnsubscribe) && r == TopicFilterInvalid:
		return "filters are checked by mochi's server, not by its codec"
	case t >= TypePuback && t <= TypePubcomp || t == TypeUnsuback || t == TypePingreq || t == TypePingresp || t == TypeDisconnect:
		return "packet identifier 0, reasons of other packets and bytes left over are not looked at; a DISCONNECT of one byte is not read"
	case t == TypeAuth:
		return "AUTH in 3.x, AUTH without method, bytes left over"
	case v == V5:
		return "properties twice, properties past their length, values out of range, integers in too many bytes, bytes left over"
	}
	return ""
}

func FuzzOracleMochi(f *testing.F) {
	seed(f)
	var p Packet
	f.Fuzz(func(t *testing.T, packet []byte, version byte) {
		v := asVersion(version)
		if len(packet) == 0 {
			return
		}
		r := Decode(packet, v, &p)
		if p.Type == TypeConnect {
			v = p.Version
		}
		pk, err := theirs(packet, v)
		switch {
		case r == Success && err != nil:
			if tooStrict(packet, &p) == "" {
				t.Fatalf("%s: we take % x, mochi says %v", v, packet, err)
			}
		case r != Success && err == nil:
			if stricter(packet, v, r) == "" {
				t.Fatalf("%s: mochi takes % x, we say %s", v, packet, r)
			}
		case r == Success:
			switch {
			case p.Type == TypeDisconnect && len(packet) == 3:
				pk.ReasonCode = packet[2] // mochi does not read a reason that stands alone (§3.14.2.1)
			case p.Type == TypeConnack && v == V31:
				pk.SessionPresent = false // 3.1 has no such flag; the byte is not used
			}
			if ours, other := wordsOf(&p), wordsOfMochi(pk); ours != other {
				t.Fatalf("%s: % x\n ours %s\nmochi %s", v, packet, ours, other)
			}
		}
	})
}

// Every vector that mochi's own tests expect to be good is good to us, unless the table above says why not.
func TestMochiVectors(t *testing.T) {
	var good int
	for typ, cases := range mochi.TPacketData {
		for _, c := range cases {
			if len(c.RawBytes) == 0 || c.Packet == nil || c.FailFirst != nil || c.Expect != nil || c.Group == "encode" || Type(c.RawBytes[0]>>4) != Type(typ) {
				continue
			}
			v := max(Version(c.Packet.ProtocolVersion), V31)
			var p Packet
			if r := Decode(c.RawBytes, v, &p); r != Success {
				if _, err := theirs(c.RawBytes, v); err == nil && stricter(c.RawBytes, v, r) == "" {
					t.Errorf("%q: %s", c.Desc, r)
				}
				continue
			}
			good++
		}
	}
	if good < 60 {
		t.Fatalf("only %d vectors are good", good)
	}
}

// wordsOf and wordsOfMochi print what both codecs keep, in the same words.
func wordsOf(p *Packet) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%t %t %d %d", p.Dup, p.Retain, p.QoS, p.PacketID)
	switch p.Type {
	case TypeConnect:
		c := &p.Connect
		fmt.Fprintf(&b, " %d %q %t %d %q %q %q %t %t %t", p.Version, c.ProtocolName, c.CleanStart, c.KeepAliveSec, c.ClientID, c.Username, c.Password,
			c.HasUsername, c.HasPassword, c.HasWill)
		fmt.Fprintf(&b, " %d %t %q %q %s", c.WillQoS, c.WillRetain, c.WillTopic, c.WillPayload, wordsOfProps(&c.WillProps))
	case TypePublish:
		fmt.Fprintf(&b, " %q %q", p.Topic, p.Payload)
	case TypeSubscribe, TypeUnsubscribe:
		for _, f := range p.Filters {
			fmt.Fprintf(&b, " %q %d %t %t %d", f.Topic, f.QoS, f.NoLocal, f.RetainAsPublished, f.RetainHandling)
		}
	case TypeSuback, TypeUnsuback:
		for _, r := range p.Reasons {
			fmt.Fprintf(&b, " %d", byte(r))
		}
	case TypePuback, TypePubrec, TypePubrel, TypePubcomp, TypeAuth, TypeDisconnect, TypeConnack:
		fmt.Fprintf(&b, " %t %d", p.SessionPresent, byte(p.Reason)|p.ReturnCode)
	}
	return b.String() + wordsOfProps(&p.Props)
}

func wordsOfMochi(p *mochi.Packet) string {
	var b strings.Builder
	typ := Type(p.FixedHeader.Type)
	qos := p.FixedHeader.Qos
	if typ != TypePublish {
		qos = 0 // mochi reads the fixed flags of PUBREL and SUBSCRIBE as a QoS
	}
	fmt.Fprintf(&b, "%t %t %d %d", p.FixedHeader.Dup, p.FixedHeader.Retain, qos, p.PacketID)
	switch typ {
	case TypeConnect:
		c := &p.Connect
		fmt.Fprintf(&b, " %d %q %t %d %q %q %q %t %t %t", p.ProtocolVersion, c.ProtocolName, c.Clean, c.Keepalive, c.ClientIdentifier, c.Username, c.Password,
			c.UsernameFlag, c.PasswordFlag, c.WillFlag)
		fmt.Fprintf(&b, " %d %t %q %q %s", c.WillQos, c.WillRetain, c.WillTopic, c.WillPayload, wordsOfMochiProps(&c.WillProperties))
	case TypePublish:
		fmt.Fprintf(&b, " %q %q", p.TopicName, p.Payload)
	case TypeSubscribe, TypeUnsubscribe:
		for _, f := range p.Filters {
			fmt.Fprintf(&b, " %q %d %t %t %d", f.Filter, f.Qos, f.NoLocal, f.RetainAsPublished, f.RetainHandling)
		}
	case TypeSuback, TypeUnsuback:
		for _, r := range p.ReasonCodes {
			fmt.Fprintf(&b, " %d", r)
		}
	case TypePuback, TypePubrec, TypePubrel, TypePubcomp, TypeAuth, TypeDisconnect, TypeConnack:
		fmt.Fprintf(&b, " %t %d", p.SessionPresent, p.ReasonCode)
	}
	return b.String() + wordsOfMochiProps(&p.Properties)
}

func wordsOfProps(p *Properties) string {
	var b strings.Builder
	fmt.Fprint(&b, p.SessionExpirySec, p.MaxPacketBytes, p.MessageExpirySec, p.WillDelaySec, p.ReceiveMax, p.TopicAliasMax, p.TopicAlias, p.ServerKeepAliveSec,
		p.PayloadFormat, p.MaxQoS, p.RequestProblemInfo, p.RequestResponseInfo, p.RetainAvailable, p.WildcardAvailable, p.SubIDAvailable, p.SharedAvailable)
	fmt.Fprintf(&b, " %v %q %q %q %q %q %q %q %q %q", p.SubscriptionIDs, p.ContentType, p.ResponseTopic, p.CorrelationData, p.AssignedClientID,
		p.AuthMethod, p.AuthData, p.ReasonString, p.ServerReference, p.ResponseInfo)
	p.EachUser(func(name, value []byte) bool {
		fmt.Fprintf(&b, " %q=%q", name, value)
		return true
	})
	return b.String()
}

func wordsOfMochiProps(p *mochi.Properties) string {
	var b strings.Builder
	fmt.Fprint(&b, p.SessionExpiryInterval, p.MaximumPacketSize, p.MessageExpiryInterval, p.WillDelayInterval, p.ReceiveMaximum, p.TopicAliasMaximum, p.TopicAlias,
		p.ServerKeepAlive, p.PayloadFormat, p.MaximumQos, p.RequestProblemInfo, p.RequestResponseInfo, p.RetainAvailable, p.WildcardSubAvailable,
		p.SubIDAvailable, p.SharedSubAvailable)
	fmt.Fprintf(&b, " %v %q %q %q %q %q %q %q %q %q", p.SubscriptionIdentifier, p.ContentType, p.ResponseTopic, p.CorrelationData, p.AssignedClientID,
		p.AuthenticationMethod, p.AuthenticationData, p.ReasonString, p.ServerReference, p.ResponseInfo)
	for _, u := range p.User {
		fmt.Fprintf(&b, " %q=%q", u.Key, u.Val)
	}
	return b.String()
}
