package gateway

import (
	"strconv"

	"github.com/tidegate/tidegate/epoll"
	"github.com/tidegate/tidegate/gateway/ws"
)

// talkCloses is how a reason looks to a device with commands, where it is not one of RFC 6455's own: the hundreds tell the
// device what to do. 4000: connect again at once, 4100: wait first, 4400: stop.
var talkCloses = [reasonCount]ws.CloseCode{
	reasonShutdown:       4000,
	reasonKeepAlive:      4001,
	reasonTokenExpired:   4002,
	reasonPacketTimeout:  4003,
	reasonLifetime:       4004,
	reasonQuota:          4100,
	reasonFull:           4100,
	reasonStalled:        4101,
	reasonConnectTimeout: 4102,
	reasonServer:         4103,
	reasonAdministrative: 4104,
	reasonRate:           4108,
	reasonConnectRate:    4109,
	reasonTakenOver:      4400,
	reasonNotAuthorized:  4401,
	reasonBadCommands:    4402,

	reasonGuessing:        4105,
	reasonAuthBusy:        4106,
	reasonAuthUnavailable: 4107,
	reasonCredentials:     4403,
	reasonBanned:          4404,
	reasonRevoked:         4110,
	reasonMemory:          4111,
	reasonLag:             4112,
}

// talkClose is the close code for a reason, and the text beside it.
func talkClose(r reason) (ws.CloseCode, string) {
	code, text := talkCloses[r], reasonTable[r].label
	switch {
	case code == 0:
		code = reasonTable[r].ws
	case code/100 == 41:
		text += " retry_ms=" + strconv.Itoa(retryMS())
	}
	if r <= reasonPeerReset {
		text = ""
	}
	return code, text
}

// endTalk says goodbye to a device with commands, after everything it was told before.
func (s *shard) endTalk(c *epoll.Conn, d *device, r reason) {
	s.endAnswers(c, d)
	s.endRun(c, d)
	code, text := talkClose(r)
	c.End(ws.AppendClose(c.Begin(), code, text))
}
