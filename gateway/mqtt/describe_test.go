package mqtt

import (
	"fmt"
	"strings"
)

// describe prints everything a packet says, to compare packets by.
func describe(p *Packet) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s dup=%t retain=%t qos=%d code=%d session=%t reason=%02x id=%d topic=%q payload=%q",
		p.Version, p.Type, p.Dup, p.Retain, p.QoS, p.ReturnCode, p.SessionPresent, byte(p.Reason), p.PacketID, p.Topic, p.Payload)
	for _, f := range p.Filters {
		fmt.Fprintf(&b, " filter=%q:%d,%t,%t,%d", f.Topic, f.QoS, f.NoLocal, f.RetainAsPublished, f.RetainHandling)
	}
	for _, r := range p.Reasons {
		fmt.Fprintf(&b, " %02x", byte(r))
	}
	if p.Type == TypeConnect {
		c := &p.Connect
		fmt.Fprintf(&b, " name=%q clean=%t keep=%d client=%q user=%t:%q password=%t:%q will=%t,%t,%d topic=%q payload=%q [%s]",
			c.ProtocolName, c.CleanStart, c.KeepAliveSec, c.ClientID, c.HasUsername, c.Username, c.HasPassword, c.Password,
			c.HasWill, c.WillRetain, c.WillQoS, c.WillTopic, c.WillPayload, describeProps(&c.WillProps))
	}
	fmt.Fprintf(&b, " [%s]", describeProps(&p.Props))
	return b.String()
}

// describeProps prints properties without their order, save that of user properties and subscription identifiers.
func describeProps(p *Properties) string {
	var b strings.Builder
	for id := range PropertyID(len(propertyRules)) {
		if p.Has(id) {
			fmt.Fprintf(&b, "%02x ", byte(id))
		}
	}
	fmt.Fprint(&b, p.SessionExpirySec, p.MaxPacketBytes, p.MessageExpirySec, p.WillDelaySec, p.ReceiveMax, p.TopicAliasMax, p.TopicAlias,
		p.ServerKeepAliveSec, p.PayloadFormat, p.MaxQoS, p.RequestProblemInfo, p.RequestResponseInfo, p.RetainAvailable,
		p.WildcardAvailable, p.SubIDAvailable, p.SharedAvailable, p.UserCount, p.SubscriptionIDs)
	for _, s := range [][]byte{p.ContentType, p.ResponseTopic, p.CorrelationData, p.AssignedClientID, p.AuthMethod, p.AuthData,
		p.ReasonString, p.ServerReference, p.ResponseInfo} {
		fmt.Fprintf(&b, " %q", s)
	}
	p.EachUser(func(name, value []byte) bool {
		fmt.Fprintf(&b, " %q=%q", name, value)
		return true
	})
	return b.String()
}

// encoded writes a decoded packet again. ok is false for the few packets that say what the encoders have no words
// for.
func encoded(p *Packet) (packet []byte, ok bool) {
	switch p.Type {
	case TypeConnect:
		return encodedConnect(p)
	case TypeConnack:
		return encodedConnack(p)
	case TypePublish:
		x := &p.Props
		return AppendPublish(nil, p.Version, &PublishOut{Topic: p.Topic, Payload: p.Payload, Props: x.AppendForward(nil), QoS: p.QoS,
			Retain: p.Retain, Dup: p.Dup, PacketID: p.PacketID, TopicAlias: x.TopicAlias, ExpirySec: x.MessageExpirySec,
			HasExpiry: x.Has(PropMessageExpiry), SubscriptionIDs: x.SubscriptionIDs}), true
	case TypePuback, TypePubrec, TypePubrel, TypePubcomp:
		return AppendAck(nil, p.Type, p.Version, p.PacketID, p.Reason, p.Props.ReasonString), onlyReasonString(&p.Props)
	case TypeSubscribe:
		var id uint32
		if len(p.Props.SubscriptionIDs) == 1 {
			id = p.Props.SubscriptionIDs[0]
		}
		return AppendSubscribe(nil, p.Version, p.PacketID, p.Filters, id), p.Props.UserCount == 0
	case TypeSuback:
		return AppendSuback(nil, p.Version, p.PacketID, p.Reasons, p.Props.ReasonString), onlyReasonString(&p.Props)
	case TypeUnsubscribe:
		packet = AppendUnsubscribe(nil, p.Version, p.PacketID, p.Filters)
	case TypeUnsuback:
		return AppendUnsuback(nil, p.Version, p.PacketID, p.Reasons, p.Props.ReasonString), onlyReasonString(&p.Props)
	case TypePingreq:
		packet = AppendPingreq(nil)
	case TypePingresp:
		packet = AppendPingresp(nil)
	case TypeDisconnect:
		return AppendDisconnect(nil, p.Version, p.Reason, p.Props.ReasonString), onlyReasonString(&p.Props)
	case TypeAuth:
		x := p.Props.present &^ (1<<PropAuthMethod | 1<<PropAuthData)
		return AppendAuth(nil, p.Reason, p.Props.AuthMethod, p.Props.AuthData), x == 0 && emptyStrings(&p.Props) == 0
	}
	return packet, p.Props.present == 0
}

// onlyReasonString tells whether an answer has no other property than a reason string that says something.
func onlyReasonString(p *Properties) bool {
	return p.present&^(1<<PropReasonString) == 0 && emptyStrings(p) == 0
}

// emptyStrings counts properties that are present and empty: the encoders leave those out.
func emptyStrings(p *Properties) (n int) {
	for id, s := range map[PropertyID][]byte{PropAssignedClientID: p.AssignedClientID, PropAuthMethod: p.AuthMethod,
		PropAuthData: p.AuthData, PropReasonString: p.ReasonString, PropServerReference: p.ServerReference, PropResponseInfo: p.ResponseInfo} {
		if p.Has(id) && len(s) == 0 {
			n++
		}
	}
	return n
}

func encodedConnect(p *Packet) ([]byte, bool) {
	c, x, w := &p.Connect, &p.Props, &p.Connect.WillProps
	out := ConnectOut{ClientID: c.ClientID, Username: c.Username, Password: c.Password, HasUsername: c.HasUsername, HasPassword: c.HasPassword,
		CleanStart: c.CleanStart, KeepAliveSec: c.KeepAliveSec, HasWill: c.HasWill, WillRetain: c.WillRetain, WillQoS: c.WillQoS,
		WillTopic: c.WillTopic, WillPayload: c.WillPayload, WillProps: w.AppendForward(nil), WillDelaySec: w.WillDelaySec,
		WillExpirySec: w.MessageExpirySec, HasWillExpiry: w.Has(PropMessageExpiry), SessionExpirySec: x.SessionExpirySec,
		MaxPacketBytes: x.MaxPacketBytes, ReceiveMax: x.ReceiveMax, TopicAliasMax: x.TopicAliasMax,
		RequestResponseInfo: x.RequestResponseInfo == 1, RefuseProblemInfo: x.Has(PropRequestProblemInfo) && x.RequestProblemInfo == 0,
		AuthMethod: x.AuthMethod, AuthData: x.AuthData, UserProps: x.AppendForward(nil)}
	spoken := emptyStrings(x) == 0 && x.Has(PropSessionExpiry) == (x.SessionExpirySec != 0) && x.Has(PropTopicAliasMax) == (x.TopicAliasMax != 0) &&
		x.Has(PropRequestResponseInfo) == (x.RequestResponseInfo != 0) && x.RequestProblemInfo == 0 && w.Has(PropWillDelay) == (w.WillDelaySec != 0)
	return AppendConnect(nil, p.Version, &out), spoken
}

func encodedConnack(p *Packet) ([]byte, bool) {
	x := &p.Props
	out := ConnackOut{SessionPresent: p.SessionPresent, Reason: p.Reason, SessionExpirySec: x.SessionExpirySec, HasSessionExpiry: x.Has(PropSessionExpiry),
		MaxPacketBytes: x.MaxPacketBytes, ReceiveMax: x.ReceiveMax, TopicAliasMax: x.TopicAliasMax, ServerKeepAliveSec: x.ServerKeepAliveSec,
		HasServerKeepAlive: x.Has(PropServerKeepAlive), MaxQoS: x.MaxQoS, AssignedClientID: x.AssignedClientID, ReasonString: x.ReasonString,
		ServerReference: x.ServerReference, AuthMethod: x.AuthMethod, AuthData: x.AuthData, ResponseInfo: x.ResponseInfo}
	if !x.Has(PropMaxQoS) {
		out.MaxQoS = 0xFF
	}
	spoken := emptyStrings(x) == 0 && x.UserCount == 0 && x.Has(PropTopicAliasMax) == (x.TopicAliasMax != 0)
	for _, f := range []struct {
		id    PropertyID
		value byte
		dst   *bool
	}{{PropRetainAvailable, x.RetainAvailable, &out.RetainUnavailable}, {PropWildcardAvailable, x.WildcardAvailable, &out.WildcardUnavailable},
		{PropSubIDAvailable, x.SubIDAvailable, &out.SubIDUnavailable}, {PropSharedAvailable, x.SharedAvailable, &out.SharedUnavailable}} {
		*f.dst = x.Has(f.id) && f.value == 0
		spoken = spoken && f.value == 0 // "available" is said by leaving it out
	}
	if p.Version != V5 {
		out.Reason = map[byte]Reason{0: Success, 1: UnsupportedProtocolVersion, 2: ClientIdentifierNotValid, 3: ServerUnavailable,
			4: BadUserNameOrPassword, 5: NotAuthorized}[p.ReturnCode]
	}
	return AppendConnack(nil, p.Version, &out), spoken
}
