package gateway

import (
	"github.com/tidegate/tidegate/epoll"
	"github.com/tidegate/tidegate/gateway/mqtt"
	"github.com/tidegate/tidegate/gateway/ws"
)

// reason says why a connection ended. It is a closed list: each has its MQTT reason code, its WebSocket close code and
// its metric label, and nothing else tells a peer that it was wrong.
type reason uint8

const (
	reasonNone reason = iota
	reasonNormal
	reasonDisconnectWithWill
	reasonPeerClosed
	reasonPeerReset
	reasonTakenOver
	reasonShutdown
	reasonKeepAlive
	reasonConnectTimeout
	reasonPacketTimeout
	reasonStalled
	reasonMalformed
	reasonProtocol
	reasonTooLarge
	reasonVersion
	reasonClientID
	reasonAuthMethod
	reasonTopic
	reasonFilter
	reasonTopicAlias
	reasonReceiveMax
	reasonQuota
	reasonFull
	reasonQoS
	reasonRetain
	reasonPayloadFormat
	reasonNotAuthorized
	reasonFrame
	reasonFrameType
	reasonText
	reasonMessageTooBig
	reasonHandshake
	reasonTLSHello
	reasonHTTP
	reasonProxyHeader
	reasonNotHTTP
	reasonServer
	reasonTokenExpired
	reasonBadCommands
	reasonAdministrative
	reasonProxyStranger
	reasonNoProxyHeader
	reasonCredentials
	reasonGuessing
	reasonAuthBusy
	reasonAuthUnavailable
	reasonRate
	reasonLifetime
	reasonConnectRate
	reasonBanned
	reasonTLSHandshake
	reasonTLSRecord
	reasonPlainOnTLS
	reasonRevoked
	reasonMemory
	reasonLag
	reasonCount
)

// reasonTable is how each reason looks to an MQTT 5 client, to a WebSocket client and in metrics.
var reasonTable = [reasonCount]struct {
	label string
	mqtt  mqtt.Reason
	ws    ws.CloseCode
}{
	reasonNone:               {"none", mqtt.Success, ws.CloseNormal},
	reasonNormal:             {"normal", mqtt.Success, ws.CloseNormal},
	reasonDisconnectWithWill: {"disconnect_with_will", mqtt.Success, ws.CloseNormal},
	reasonPeerClosed:         {"peer_closed", mqtt.Success, ws.CloseNormal},
	reasonPeerReset:          {"peer_reset", mqtt.Success, ws.CloseNormal},
	reasonTakenOver:          {"taken_over", mqtt.SessionTakenOver, ws.PolicyViolation},
	reasonShutdown:           {"shutdown", mqtt.ServerShuttingDown, ws.GoingAway},
	reasonKeepAlive:          {"keep_alive_timeout", mqtt.KeepAliveTimeout, ws.GoingAway},
	reasonConnectTimeout:     {"connect_timeout", mqtt.Success, ws.PolicyViolation},
	reasonPacketTimeout:      {"packet_timeout", mqtt.ProtocolError, ws.PolicyViolation},
	reasonStalled:            {"stalled", mqtt.QuotaExceeded, ws.PolicyViolation},
	reasonMalformed:          {"malformed", mqtt.MalformedPacket, ws.ProtocolError},
	reasonProtocol:           {"protocol_error", mqtt.ProtocolError, ws.ProtocolError},
	reasonTooLarge:           {"packet_too_large", mqtt.PacketTooLarge, ws.TooBig},
	reasonVersion:            {"unsupported_version", mqtt.UnsupportedProtocolVersion, ws.ProtocolError},
	reasonClientID:           {"client_id", mqtt.ClientIdentifierNotValid, ws.PolicyViolation},
	reasonAuthMethod:         {"auth_method", mqtt.BadAuthenticationMethod, ws.PolicyViolation},
	reasonTopic:              {"topic_invalid", mqtt.TopicNameInvalid, ws.PolicyViolation},
	reasonFilter:             {"filter_invalid", mqtt.TopicFilterInvalid, ws.PolicyViolation},
	reasonTopicAlias:         {"topic_alias", mqtt.TopicAliasInvalid, ws.ProtocolError},
	reasonReceiveMax:         {"receive_max_exceeded", mqtt.ReceiveMaximumExceeded, ws.ProtocolError},
	reasonQuota:              {"quota", mqtt.QuotaExceeded, ws.TryAgainLater},
	reasonFull:               {"full", mqtt.QuotaExceeded, ws.TryAgainLater},
	reasonQoS:                {"qos_not_supported", mqtt.QoSNotSupported, ws.PolicyViolation},
	reasonRetain:             {"retain_not_supported", mqtt.RetainNotSupported, ws.PolicyViolation},
	reasonPayloadFormat:      {"payload_format", mqtt.PayloadFormatInvalid, ws.InvalidPayload},
	reasonNotAuthorized:      {"not_authorized", mqtt.NotAuthorized, ws.PolicyViolation},
	reasonFrame:              {"websocket_protocol", mqtt.ProtocolError, ws.ProtocolError},
	reasonFrameType:          {"websocket_frame_type", mqtt.ProtocolError, ws.Unsupported},
	reasonText:               {"websocket_text", mqtt.MalformedPacket, ws.InvalidPayload},
	reasonMessageTooBig:      {"websocket_too_big", mqtt.PacketTooLarge, ws.TooBig},
	reasonHandshake:          {"http_handshake", mqtt.ProtocolError, ws.ProtocolError},
	reasonTLSHello:           {"tls_on_plain_port", mqtt.MalformedPacket, ws.ProtocolError},
	reasonHTTP:               {"http_on_mqtt_port", mqtt.MalformedPacket, ws.ProtocolError},
	reasonProxyHeader:        {"proxy_header", mqtt.MalformedPacket, ws.ProtocolError},
	reasonNotHTTP:            {"mqtt_on_websocket_port", mqtt.MalformedPacket, ws.ProtocolError},
	reasonServer:             {"server_error", mqtt.UnspecifiedError, ws.InternalError},
	reasonTokenExpired:       {"token_expired", mqtt.NotAuthorized, ws.PolicyViolation},
	reasonBadCommands:        {"bad_commands", mqtt.ProtocolError, ws.PolicyViolation},
	reasonAdministrative:     {"administrative", mqtt.AdministrativeAction, ws.PolicyViolation},
	reasonProxyStranger:      {"proxy_stranger", mqtt.NotAuthorized, ws.ProtocolError},
	reasonNoProxyHeader:      {"no_proxy_header", mqtt.MalformedPacket, ws.ProtocolError},
	reasonCredentials:        {"bad_credentials", mqtt.BadUserNameOrPassword, ws.PolicyViolation},
	reasonGuessing:           {"guessing", mqtt.Banned, ws.TryAgainLater},
	reasonAuthBusy:           {"auth_busy", mqtt.ServerBusy, ws.TryAgainLater},
	reasonAuthUnavailable:    {"auth_unavailable", mqtt.ServerUnavailable, ws.TryAgainLater},
	reasonRate:               {"rate_exceeded", mqtt.MessageRateTooHigh, ws.PolicyViolation},
	reasonLifetime:           {"connection_time", mqtt.MaximumConnectTime, ws.GoingAway},
	reasonConnectRate:        {"connect_rate", mqtt.ConnectionRateExceeded, ws.TryAgainLater},
	reasonBanned:             {"banned", mqtt.AdministrativeAction, ws.PolicyViolation}, // DISCONNECT knows no 0x8A
	reasonTLSHandshake:       {"tls_handshake", mqtt.Success, ws.ProtocolError},
	reasonTLSRecord:          {"tls_record", mqtt.Success, ws.ProtocolError},
	reasonPlainOnTLS:         {"plain_on_tls_port", mqtt.Success, ws.ProtocolError},
	reasonRevoked:            {"revoked", mqtt.AdministrativeAction, ws.PolicyViolation},
	reasonMemory:             {"memory", mqtt.QuotaExceeded, ws.TryAgainLater},
	reasonLag:                {"lag", mqtt.ServerBusy, ws.TryAgainLater},
}

// String is the metric label.
func (r reason) String() string { return reasonTable[r].label }

// reasonOfMQTT is why we close a connection whose packet the codec or the session refused.
func reasonOfMQTT(r mqtt.Reason) reason {
	switch r {
	case mqtt.MalformedPacket:
		return reasonMalformed
	case mqtt.PacketTooLarge:
		return reasonTooLarge
	case mqtt.UnsupportedProtocolVersion:
		return reasonVersion
	case mqtt.ClientIdentifierNotValid:
		return reasonClientID
	case mqtt.BadAuthenticationMethod:
		return reasonAuthMethod
	case mqtt.TopicNameInvalid:
		return reasonTopic
	case mqtt.TopicFilterInvalid:
		return reasonFilter
	case mqtt.TopicAliasInvalid:
		return reasonTopicAlias
	case mqtt.ReceiveMaximumExceeded:
		return reasonReceiveMax
	case mqtt.QuotaExceeded:
		return reasonQuota
	case mqtt.QoSNotSupported:
		return reasonQoS
	case mqtt.RetainNotSupported:
		return reasonRetain
	case mqtt.PayloadFormatInvalid:
		return reasonPayloadFormat
	case mqtt.NotAuthorized:
		return reasonNotAuthorized
	case mqtt.Banned:
		return reasonBanned
	case mqtt.SessionTakenOver:
		return reasonTakenOver
	}
	return reasonProtocol
}

// reasonOfWS is why we close a connection whose frames were wrong.
func reasonOfWS(code ws.CloseCode) reason {
	switch code {
	case ws.InvalidPayload:
		return reasonText
	case ws.TooBig, ws.PolicyViolation: // the latter: more fragments than fragmentsMax, or DEFLATE streams than are taken
		return reasonMessageTooBig
	}
	return reasonFrame
}

// reasonOfCause is why a connection ended that the loop closed, not we.
func reasonOfCause(c epoll.Cause) reason {
	switch c {
	case epoll.CausePeerClosed:
		return reasonPeerClosed
	case epoll.CauseStalled:
		return reasonStalled
	case epoll.CauseTailTooLong:
		return reasonTooLarge
	case epoll.CauseHandshake:
		return reasonTLSHandshake
	case epoll.CauseBadRecord:
		return reasonTLSRecord
	case epoll.CauseStopped:
		return reasonShutdown
	}
	return reasonPeerReset
}
