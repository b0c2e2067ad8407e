package auth

import (
	"net/netip"

	"github.com/tidegate/tidegate/gateway/auth/acl"
)

// Request is what is known of a device that asks to come in. Never logged: it holds a password.
type Request struct {
	Listener string         // as it is configured, such as mqtts://0.0.0.0:8883
	Protocol string         // mqtt3.1, mqtt3.1.1, mqtt5 or plain
	Addr     netip.AddrPort // the device's own address, also behind a trusted proxy
	ClientID string         // as the device gave it; empty: it was given none
	Username string
	Password []byte
	Tenant   string // known from listener, server name or certificate; empty: none
	Peer     *Peer  // nil: no TLS

	HasUsername, HasPassword bool
}

// Peer is what TLS has shown of a device. The certificate's part is empty unless one was shown and verified.
type Peer struct {
	ServerName  string   // SNI
	Protocol    string   // ALPN
	CN          string   // of the subject
	Names       []string // subject alternative names: DNS, URI, e-mail, IP
	Fingerprint string   // SHA-256 of the certificate, in hex
	ExpiresSec  int64    // of the certificate, Unix time
	Tenant      string   // whose certificate it is, where tenants have some of their own
	User        string   // the one of CN, Names and Fingerprint that names the device here
}

// Verdict is what a provider makes of a request.
type Verdict uint8

// A provider that does not know the device passes the question on.
const (
	Pass Verdict = iota
	Allow
	Deny
)

// Refusal is why a device is not let in.
type Refusal uint8

// What a device is told follows from these (MQTT 5 §3.2.2.2).
const (
	BadCredentials Refusal = iota // 0x86
	NotAuthorized                 // 0x87
	BadClientID                   // 0x85
	Banned                        // 0x8A
	Unavailable                   // 0x88: who is asked does not answer
	Busy                          // 0x89: too many are asking, or this one too often
)

// Answer is what a provider says.
type Answer struct {
	Verdict Verdict
	Refusal Refusal // of Deny

	User       string     // who it is, "" for the user name it gave
	Tenant     string     // "" for the one known so far
	ClientID   string     // the only client id it may have, "" for any
	ExpiresSec int64      // Unix time at which the session has to end, 0: never
	CacheSec   uint32     // how long the answer holds for the same credentials, 0: as configured
	Rules      []acl.Rule // what it may do, before the rules of the gateway
	Standing   Standing   // on what Allow rests
}
