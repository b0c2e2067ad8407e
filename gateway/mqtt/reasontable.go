package mqtt

// Sets of packet types that share their reason codes.
const (
	onConnack    = 1 << TypeConnack
	onPuback     = 1<<TypePuback | 1<<TypePubrec
	onPubrel     = 1<<TypePubrel | 1<<TypePubcomp
	onSuback     = 1 << TypeSuback
	onUnsuback   = 1 << TypeUnsuback
	onDisconnect = 1 << TypeDisconnect
	onAuth       = 1 << TypeAuth
)

// reasonOn holds for each reason code the MQTT 5 packets that may carry it (§2.4), as bits 1<<Type.
var reasonOn = [256]uint16{
	Success:                             onConnack | onPuback | onPubrel | onSuback | onUnsuback | onDisconnect | onAuth,
	GrantedQoS1:                         onSuback,
	GrantedQoS2:                         onSuback,
	DisconnectWithWillMessage:           onDisconnect,
	NoMatchingSubscribers:               onPuback,
	NoSubscriptionExisted:               onUnsuback,
	ContinueAuthentication:              onAuth,
	ReAuthenticate:                      onAuth,
	UnspecifiedError:                    onConnack | onPuback | onSuback | onUnsuback | onDisconnect,
	MalformedPacket:                     onConnack | onDisconnect,
	ProtocolError:                       onConnack | onDisconnect,
	ImplementationSpecificError:         onConnack | onPuback | onSuback | onUnsuback | onDisconnect,
	UnsupportedProtocolVersion:          onConnack,
	ClientIdentifierNotValid:            onConnack,
	BadUserNameOrPassword:               onConnack,
	NotAuthorized:                       onConnack | onPuback | onSuback | onUnsuback | onDisconnect,
	ServerUnavailable:                   onConnack,
	ServerBusy:                          onConnack | onDisconnect,
	Banned:                              onConnack,
	ServerShuttingDown:                  onDisconnect,
	BadAuthenticationMethod:             onConnack | onDisconnect,
	KeepAliveTimeout:                    onDisconnect,
	SessionTakenOver:                    onDisconnect,
	TopicFilterInvalid:                  onSuback | onUnsuback | onDisconnect,
	TopicNameInvalid:                    onConnack | onPuback | onDisconnect,
	PacketIdentifierInUse:               onPuback | onSuback | onUnsuback,
	PacketIdentifierNotFound:            onPubrel,
	ReceiveMaximumExceeded:              onDisconnect,
	TopicAliasInvalid:                   onDisconnect,
	PacketTooLarge:                      onConnack | onDisconnect,
	MessageRateTooHigh:                  onDisconnect,
	QuotaExceeded:                       onConnack | onPuback | onSuback | onDisconnect,
	AdministrativeAction:                onDisconnect,
	PayloadFormatInvalid:                onConnack | onPuback | onDisconnect,
	RetainNotSupported:                  onConnack | onDisconnect,
	QoSNotSupported:                     onConnack | onDisconnect,
	UseAnotherServer:                    onConnack | onDisconnect,
	ServerMoved:                         onConnack | onDisconnect,
	SharedSubscriptionsNotSupported:     onSuback | onDisconnect,
	ConnectionRateExceeded:              onConnack | onDisconnect,
	MaximumConnectTime:                  onDisconnect,
	SubscriptionIdentifiersNotSupported: onSuback | onDisconnect,
	WildcardSubscriptionsNotSupported:   onSuback | onDisconnect,
}

// allowedOn tells whether a packet of type t may carry r in MQTT 5. [MQTT-3.4.2-1] and its siblings.
func (r Reason) allowedOn(t Type) bool { return reasonOn[r]>>t&1 != 0 }

// ReturnCode311 is the MQTT 3.x CONNACK return code (§3.2.2.3) that comes nearest to an MQTT 5 reason. 3.x knows
// five refusals; what fits none of them becomes 3, "server unavailable". A malformed CONNECT is not answered at all
// in 3.x. [MQTT-4.8.0-1]
func ReturnCode311(r Reason) byte {
	switch r {
	case Success:
		return 0
	case UnsupportedProtocolVersion:
		return 1
	case ClientIdentifierNotValid:
		return 2
	case BadUserNameOrPassword, BadAuthenticationMethod:
		return 4
	case NotAuthorized, Banned, TopicNameInvalid, RetainNotSupported, QoSNotSupported:
		return 5
	}
	return 3
}
