package gateway

import "github.com/tidegate/tidegate/gateway/mqtt"

// The words of Reason Strings, all of them: what is wrong, and the name of the setting where a limit was hit, for whoever
// writes the firmware. They are constants, so that nothing that a device or somebody else sent is ever in them.

// reasonTexts say why a connection is closed. A reason that MQTT 5 clients never hear of has none.
var reasonTexts = [reasonCount]string{
	reasonTakenOver:      "the client id connected again, here or to another gateway",
	reasonShutdown:       "the gateway is stopping; connect again",
	reasonKeepAlive:      "no packet came for one and a half times the keep-alive",
	reasonPacketTimeout:  "a packet took longer from its first to its last byte than limits.packet_time",
	reasonStalled:        "bytes that the client did not read did not move for limits.stall_time",
	reasonMalformed:      "packet type, flags or remaining length are none of MQTT 5",
	reasonProtocol:       "the packet breaks a rule of MQTT 5",
	reasonTooLarge:       "packet beyond limits.packet_bytes_max, or an answer beyond the client's Maximum Packet Size",
	reasonAuthMethod:     textOtherMethod,
	reasonTopic:          "topic is empty or has a wildcard in it",
	reasonFilter:         "filter is empty, + or # is not a level of its own, # is not the last, or $share has no group",
	reasonTopicAlias:     "topic alias is 0 or above mqtt.topic_alias_max (Topic Alias Maximum in CONNACK)",
	reasonReceiveMax:     "more unacknowledged QoS 1 and 2 messages than mqtt.receive_max (Receive Maximum in CONNACK)",
	reasonQuota:          "queue beyond session.queue_count_max or session.queue_bytes_max; session.queue_policy closes then",
	reasonQoS:            "QoS is above Maximum QoS in CONNACK",
	reasonRetain:         "retained messages are switched off: mqtt.retain_available",
	reasonPayloadFormat:  "payload is not UTF-8, which Payload Format Indicator 1 says",
	reasonNotAuthorized:  "not authorized",
	reasonFrame:          "a WebSocket frame is malformed",
	reasonFrameType:      "MQTT on WebSocket comes in binary frames",
	reasonText:           "a WebSocket text is not UTF-8",
	reasonMessageTooBig:  "WebSocket message beyond limits.packet_bytes_max, or in too many fragments",
	reasonTokenExpired:   "the credentials have expired; log in again with new ones",
	reasonAdministrative: "a backend or an operator had this client disconnected",
	reasonRate:           "more packets or bytes than limits.packet_rate and limits.byte_rate allow",
	reasonLifetime:       "the connection is as old as limits.connection_time lets it become; connect again",
	reasonRevoked:        "what this client logged in with was changed or taken away; log in again",
	reasonBanned:         "this client, user or address is banned",
	reasonServer:         "a fault of the gateway; its log says more",
	reasonMemory:         "too much memory is in use (overload.memory_bytes_max): come again later",
	reasonLag:            "the gateway has too much to do (overload.lag_max): come again later",
}

// What narrows down reasonProtocol, and the answers that have no refusal of their own.
const (
	textAliasUnknown    = "no topic, and the topic alias was not set on this connection"
	textExpiryProlonged = "Session Expiry Interval can't become more than 0 on DISCONNECT after 0 on CONNECT"
	textSecondConnect   = "a second CONNECT on one connection"
	textAuthUnasked     = "AUTH without an Authentication Method in CONNECT"
	textBeforeConnack   = "only AUTH that goes on with the exchange may come before CONNACK"
	textOtherMethod     = "another Authentication Method than in CONNECT"
	textWrongAck        = "acknowledges a message of another QoS, or out of turn"
	textIDUnknown       = "no message with this packet id is under way"
	textSubscriptions   = "more subscriptions than limits.subscriptions_max"
	textNoFilter        = "not a topic filter"
)

// protocolTexts are what may be wrong with a packet that can be read but breaks a rule, by its type.
var protocolTexts = [16]string{
	mqtt.TypeConnect:     "CONNECT: flags of a will without one, Receive Maximum or Maximum Packet Size 0, or a property twice",
	mqtt.TypeConnack:     "CONNACK is a server's packet",
	mqtt.TypePublish:     "PUBLISH: packet id 0, no topic, wildcard in the Response Topic, a subscription id, or a property twice",
	mqtt.TypePuback:      "PUBACK: packet id 0, a reason code of other packets, or a property twice",
	mqtt.TypePubrec:      "PUBREC: packet id 0, a reason code of other packets, or a property twice",
	mqtt.TypePubrel:      "PUBREL: packet id 0, a reason code of other packets, or a property twice",
	mqtt.TypePubcomp:     "PUBCOMP: packet id 0, a reason code of other packets, or a property twice",
	mqtt.TypeSubscribe:   "SUBSCRIBE: packet or subscription id 0, no filter, QoS or Retain Handling 3, or No Local on a shared one",
	mqtt.TypeSuback:      "SUBACK is a server's packet",
	mqtt.TypeUnsubscribe: "UNSUBSCRIBE: packet id 0, or no filter",
	mqtt.TypeUnsuback:    "UNSUBACK is a server's packet",
	mqtt.TypePingresp:    "PINGRESP is a server's packet",
	mqtt.TypeDisconnect:  "DISCONNECT: a reason code or property of servers, or a property twice",
	mqtt.TypeAuth:        "AUTH: a reason code of servers, no Authentication Method, or a property twice",
}

// malformedTexts are the same for one that can't be read.
var malformedTexts = func() (texts [16]string) {
	for t := range mqtt.Type(16) {
		texts[t] = t.String() + " is malformed: flags, lengths, UTF-8 text or properties are not as MQTT 5 lays them out"
	}
	return texts
}()

// packetText says what is wrong with a packet of type t that the codec refused with r.
func packetText(t mqtt.Type, r mqtt.Reason) string {
	switch r {
	case mqtt.MalformedPacket:
		return malformedTexts[t&15]
	case mqtt.ProtocolError:
		return protocolTexts[t&15]
	case mqtt.TopicNameInvalid:
		if t == mqtt.TypeConnect {
			return "will topic is empty or has a wildcard in it"
		}
	case mqtt.UnsupportedProtocolVersion:
		return "MQTT versions are 3.1 (level 3), 3.1.1 (4) and 5 (5)"
	case mqtt.ClientIdentifierNotValid:
		return refusedClientID.text()
	}
	return reasonTexts[reasonOfMQTT(r)]
}

// stepText says what is wrong with a packet of type t for which the session closed with r.
func stepText(t mqtt.Type, r mqtt.Reason) string {
	if r == mqtt.ProtocolError {
		switch t {
		case mqtt.TypePuback, mqtt.TypePubrec, mqtt.TypePubrel, mqtt.TypePubcomp:
			return textWrongAck
		}
		return protocolTexts[t&15]
	}
	return reasonTexts[reasonOfMQTT(r)]
}

// answerText is what an answer of type t says about a failure that has no refusal: it comes from the session.
func answerText(t mqtt.Type, r mqtt.Reason) string {
	switch {
	case r == mqtt.PacketIdentifierNotFound:
		return textIDUnknown
	case r == mqtt.QuotaExceeded && t == mqtt.TypeSuback:
		return textSubscriptions
	case r == mqtt.TopicFilterInvalid:
		return textNoFilter
	}
	return r.String()
}

// refusal is why the gateway does not take a CONNECT, a message or a filter: what is wrong, where a reason code has more
// causes than one.
type refusal uint8

const (
	refusedNot refusal = iota
	refusedClientID
	refusedAuthMethod
	refusedAnonymous
	refusedSessions
	refusedUnavailable
	refusedFull
	refusedDraining
	refusedReserved
	refusedPayloadFormat
	refusedForNATS
	refusedAlias
	refusedFilterBytes
	refusedFilterLevels
	refusedFilterMapping
	refusedFilterNATS
	refusedFilterRewrite
	refusedFilterCount
	refusedUnsubscribeCount
	refusedTopicBytes
	refusedTopicLevels
	refusedTopicMapping
	refusedSubID
	refusedShared
	refusedWildcard
	refusedWillReserved
	refusedWillBytes
	refusedWillLevels
	refusedWillMapping
	refusedWillQoS
	refusedWillRetain
	refusedWillFormat
	refusedCredentials
	refusedUnauthorized
	refusedOtherID
	refusedGuessing
	refusedAuthUnavailable
	refusedAuthBusy
	refusedOwner
	refusedListenerFull
	refusedConnectRate
	refusedAddressFull
	refusedAddressRate
	refusedMultiLevel
	refusedWildcardDepth
	refusedBanned
	refusedDeniedTopic
	refusedDeniedFilter
	refusedDeniedWill
	refusedMemory
	refusedLag
	refusedTenant
	refusedTenantID
	refusedTenantFull
	refusedTenantRate
	refusedTenantFilters
	refusalCount
)

// refusals are what a client is told.
var refusals = [refusalCount]struct {
	code mqtt.Reason
	text string
}{
	refusedNot:           {mqtt.Success, ""},
	refusedClientID:      {mqtt.ClientIdentifierNotValid, "client id is empty, which MQTT 3.1.1 allows with clean session only"},
	refusedAuthMethod:    {mqtt.BadAuthenticationMethod, "this Authentication Method is not offered"},
	refusedAnonymous:     {mqtt.NotAuthorized, "this gateway takes only clients that authenticate with a method it knows (auth.anonymous: nobody)"},
	refusedUnavailable:   {mqtt.ServerUnavailable, "the session cannot be read from NATS now; try again later"},
	refusedSessions:      {mqtt.QuotaExceeded, "more sessions than session.max; try again later"},
	refusedFull:          {mqtt.QuotaExceeded, "more connections than limits.connections_max or descriptors allow; try again later"},
	refusedDraining:      {mqtt.ServerUnavailable, "the gateway is stopping; connect again"},
	refusedReserved:      {mqtt.NotAuthorized, "topics that begin with $, _INBOX, _R_, _GR_ or _TG are not for devices to publish to"},
	refusedPayloadFormat: {mqtt.PayloadFormatInvalid, reasonTexts[reasonPayloadFormat]},
	refusedForNATS:       {mqtt.QuotaExceeded, "topic, properties or payload are more than NATS takes in one message"}, // PUBACK and PUBREC know no 0x95 (MQTT 5 §3.4.2.1)
	refusedAlias:         {mqtt.TopicNameInvalid, "the topic alias stands for a topic that was refused"},

	refusedFilterBytes:   {mqtt.TopicFilterInvalid, "filter is longer than mqtt.topic_bytes_max"},
	refusedFilterLevels:  {mqtt.TopicFilterInvalid, "filter has more levels than mqtt.topic_levels_max"},
	refusedFilterMapping: {mqtt.TopicFilterInvalid, "filter is none that NATS's own MQTT takes, and mqtt.strict_mapping is on"},
	refusedFilterNATS:    {mqtt.TopicFilterInvalid, "filter is longer than a NATS subject may be"},
	refusedFilterRewrite: {mqtt.TopicFilterInvalid, "a rule of topic_rewrite puts a wildcard of the filter where none may stand"},
	refusedFilterCount:   {mqtt.QuotaExceeded, "more filters in one packet than mqtt.filters_max"},
	// UNSUBACK knows no 0x97 [MQTT-3.11.3-2].
	refusedUnsubscribeCount: {mqtt.ImplementationSpecificError, "more filters in one packet than mqtt.filters_max"},

	refusedSubID:    {mqtt.SubscriptionIdentifiersNotSupported, "subscription identifiers are switched off: mqtt.subscription_ids_available"},
	refusedShared:   {mqtt.SharedSubscriptionsNotSupported, "shared subscriptions are switched off: mqtt.shared_available"},
	refusedWildcard: {mqtt.WildcardSubscriptionsNotSupported, "filters with wildcards are switched off: mqtt.wildcard_available"},

	refusedTopicBytes:   {mqtt.TopicNameInvalid, "topic is longer than mqtt.topic_bytes_max"},
	refusedTopicLevels:  {mqtt.TopicNameInvalid, "topic has more levels than mqtt.topic_levels_max"},
	refusedTopicMapping: {mqtt.TopicNameInvalid, "topic is none that NATS's own MQTT takes, and mqtt.strict_mapping is on"},

	refusedWillReserved: {mqtt.TopicNameInvalid, "will topic begins with $, _INBOX, _R_, _GR_ or _TG, which are not for devices to publish to"},
	refusedWillBytes:    {mqtt.TopicNameInvalid, "will topic is longer than mqtt.topic_bytes_max"},
	refusedWillLevels:   {mqtt.TopicNameInvalid, "will topic has more levels than mqtt.topic_levels_max"},
	refusedWillMapping:  {mqtt.TopicNameInvalid, "will topic is none that NATS's own MQTT takes, and mqtt.strict_mapping is on"},
	refusedWillQoS:      {mqtt.QoSNotSupported, "QoS of the will is above mqtt.max_qos (Maximum QoS in CONNACK)"},
	refusedWillRetain:   {mqtt.RetainNotSupported, "will is to be retained, but retained messages are switched off: mqtt.retain_available"},
	refusedWillFormat:   {mqtt.PayloadFormatInvalid, "will payload is not UTF-8, which Payload Format Indicator 1 says"},

	refusedCredentials:     {mqtt.BadUserNameOrPassword, "user name or password is wrong or missing"},
	refusedUnauthorized:    {mqtt.NotAuthorized, reasonTexts[reasonNotAuthorized]},
	refusedOtherID:         {mqtt.ClientIdentifierNotValid, "another client id than this user may have"},
	refusedGuessing:        {mqtt.Banned, "too many wrong passwords from this address or for this name; try again later"},
	refusedAuthUnavailable: {mqtt.ServerUnavailable, "who is asked about clients does not answer; try again later"},
	refusedAuthBusy:        {mqtt.ServerBusy, "too many clients are asked about now (auth.waiting_max); try again later"},
	refusedOwner:           {mqtt.NotAuthorized, reasonTexts[reasonNotAuthorized]},

	refusedMultiLevel:    {mqtt.NotAuthorized, "filters with # are switched off: mqtt.multi_level_available"},
	refusedWildcardDepth: {mqtt.NotAuthorized, "the first wildcard of the filter stands before level mqtt.wildcard_depth_min"},

	refusedBanned:       {mqtt.Banned, reasonTexts[reasonBanned]},
	refusedDeniedTopic:  {mqtt.NotAuthorized, "this client may not publish on this topic, or not with this QoS or retained"},
	refusedDeniedFilter: {mqtt.NotAuthorized, "this client may not subscribe to all that the filter stands for"},
	refusedDeniedWill:   {mqtt.NotAuthorized, "this client may not publish its will on this topic, or not with this QoS or retained"},

	refusedTenant:        {mqtt.NotAuthorized, reasonTexts[reasonNotAuthorized]},
	refusedTenantID:      {mqtt.ClientIdentifierNotValid, "client ids that begin with a tenant's name and a slash are its own devices'"},
	refusedTenantFull:    {mqtt.QuotaExceeded, "more connections than connections_max of this tenant; try again later"},
	refusedTenantRate:    {mqtt.ConnectionRateExceeded, "more connections a second than connect_rate of this tenant; try again later"},
	refusedTenantFilters: {mqtt.QuotaExceeded, "more subscriptions than subscriptions_max of this tenant"},

	refusedListenerFull: {mqtt.QuotaExceeded, "more connections than connections_max of this listener; try again later"},
	refusedMemory:       {mqtt.QuotaExceeded, reasonTexts[reasonMemory]},
	refusedLag:          {mqtt.ServerBusy, reasonTexts[reasonLag]},
	refusedConnectRate:  {mqtt.ConnectionRateExceeded, "more connections a second than limits.connect_rate; try again later"},
	refusedAddressFull:  {mqtt.QuotaExceeded, "more connections from one address than limits.per_address.connections_max"},
	refusedAddressRate:  {mqtt.ConnectionRateExceeded, "more connections a second from one address than limits.per_address.connect_rate; try again later"},
}

// code is the reason code, Success for refusedNot.
func (r refusal) code() mqtt.Reason { return refusals[r].code }

// text is the reason string.
func (r refusal) text() string { return refusals[r].text }
