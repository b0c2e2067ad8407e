package mqtt

// Which side may send what. Decode does not know on which side it runs, so the few rules that depend on it are
// asked here.

// FromClient tells whether a client of this version may send packets of this type (table 2-1).
func FromClient(t Type, v Version) bool {
	switch t {
	case TypeConnect, TypePublish, TypePuback, TypePubrec, TypePubrel, TypePubcomp,
		TypeSubscribe, TypeUnsubscribe, TypePingreq, TypeDisconnect:
		return true
	case TypeAuth:
		return v == V5
	}
	return false
}

// fromServer is FromClient for the other side.
func fromServer(t Type, v Version) bool {
	switch t {
	case TypeConnack, TypePublish, TypePuback, TypePubrec, TypePubrel, TypePubcomp,
		TypeSuback, TypeUnsuback, TypePingresp:
		return true
	case TypeDisconnect, TypeAuth:
		return v == V5
	}
	return false
}

// ClientFault is what a server holds against a packet that decoded well but that a client must not send:
// [ProtocolError] for the packets, reasons and properties of a server, otherwise Success.
func ClientFault(p *Packet) Reason {
	fault := !FromClient(p.Type, p.Version)
	switch p.Type {
	case TypePublish:
		fault = p.Props.Has(PropSubscriptionID) // [MQTT-3.3.4-6]
	case TypeDisconnect:
		fault = serverGoodbye(p.Reason) || p.Props.Has(PropServerReference) // §3.14.2.1, §3.14.2.2.5
	case TypeAuth:
		fault = fault || p.Reason == Success // §3.15.2.1
	}
	if fault {
		return ProtocolError
	}
	return Success
}

// ServerFault is what a client holds against a packet that decoded well but that a server must not send; see
// [ClientFault].
func ServerFault(p *Packet) Reason {
	fault := !fromServer(p.Type, p.Version)
	switch p.Type {
	case TypeDisconnect:
		// [MQTT-3.14.2-2]
		fault = fault || p.Reason == DisconnectWithWillMessage || p.Props.Has(PropSessionExpiry)
	case TypeAuth:
		fault = fault || p.Reason == ReAuthenticate // §3.15.2.1
	}
	if fault {
		return ProtocolError
	}
	return Success
}

// serverGoodbye tells whether only a server may disconnect with this reason (§3.14.2.1).
func serverGoodbye(r Reason) bool {
	switch r {
	case NotAuthorized, ServerBusy, ServerShuttingDown, BadAuthenticationMethod, KeepAliveTimeout, SessionTakenOver, TopicFilterInvalid,
		RetainNotSupported, QoSNotSupported, UseAnotherServer, ServerMoved, SharedSubscriptionsNotSupported,
		ConnectionRateExceeded, MaximumConnectTime, SubscriptionIdentifiersNotSupported, WildcardSubscriptionsNotSupported:
		return true
	}
	return false
}
