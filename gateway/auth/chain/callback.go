package chain

import (
	"bytes"
	"encoding/json"
	"errors"
	"unicode"
	"unicode/utf8"

	"github.com/tidegate/tidegate/gateway/auth"
)

// AnswerBytesMax is the longest answer of a callback.
const AnswerBytesMax = 64 << 10

// textBytesMax is the longest name in an answer.
const textBytesMax = 256

// asked is what a callback is sent. docs/authentication.md is the contract.
type asked struct {
	Listener       string    `json:"listener"`
	Protocol       string    `json:"protocol"`
	Address        string    `json:"address"`
	ClientID       string    `json:"client_id"`
	Username       *string   `json:"username,omitempty"`
	Password       *string   `json:"password,omitempty"`
	PasswordBase64 []byte    `json:"password_base64,omitempty"`
	Tenant         string    `json:"tenant,omitempty"`
	TLS            *askedTLS `json:"tls,omitempty"`
}

type askedTLS struct {
	ServerName  string   `json:"server_name,omitempty"`
	CN          string   `json:"cn,omitempty"`
	Names       []string `json:"names,omitempty"`
	Fingerprint string   `json:"fingerprint,omitempty"`
}

// said is what it answers.
type said struct {
	Result   string          `json:"result"`
	Reason   string          `json:"reason"`
	User     string          `json:"user"`
	Tenant   string          `json:"tenant"`
	ClientID string          `json:"client_id"`
	Expires  int64           `json:"expires"`
	Cache    uint32          `json:"cache"`
	ACL      json.RawMessage `json:"acl"`
}

// errAnswer is why an answer counts as none. What stands in it is not shown: it may repeat what was asked. Who gives it is there all the same, so that it is
// nothing to the breaker: else a device that is answered so could keep all others out.
var errAnswer = errors.New("chain: the answer is none of those that docs/authentication.md has")

// encode is a request as callbacks get it.
func encode(r *auth.Request) ([]byte, error) {
	q := asked{Listener: r.Listener, Protocol: r.Protocol, Address: r.Addr.String(), ClientID: r.ClientID, Tenant: r.Tenant}
	if r.HasUsername {
		q.Username = &r.Username
	}
	if r.HasPassword {
		if password := string(r.Password); utf8.ValidString(password) {
			q.Password = &password
		} else {
			q.PasswordBase64 = r.Password
		}
	}
	if p := r.Peer; p != nil {
		q.TLS = &askedTLS{ServerName: p.ServerName, CN: p.CN, Names: p.Names, Fingerprint: p.Fingerprint}
	}
	text, err := json.Marshal(&q)
	if err != nil {
		return nil, errors.New("chain: the request cannot be written as JSON")
	}
	return text, nil
}

// decode reads an answer; source is where its rules come from.
func decode(text []byte, source string) (auth.Answer, error) {
	var s said
	dec := json.NewDecoder(bytes.NewReader(text))
	if err := dec.Decode(&s); err != nil || dec.More() {
		return auth.Answer{}, errAnswer
	}
	a := auth.Answer{User: s.User, Tenant: s.Tenant, ClientID: s.ClientID, ExpiresSec: s.Expires, CacheSec: s.Cache}
	for _, name := range []string{s.User, s.Tenant, s.ClientID} {
		if len(name) > textBytesMax || !utf8.ValidString(name) || bytes.ContainsFunc([]byte(name), unicode.IsControl) {
			return auth.Answer{}, errAnswer
		}
	}
	if s.Expires < 0 {
		return auth.Answer{}, errAnswer
	}
	switch s.Result {
	case "allow":
		a.Verdict = auth.Allow
	case "deny":
		refusal, ok := map[string]auth.Refusal{"": auth.BadCredentials, "bad_credentials": auth.BadCredentials, "not_authorized": auth.NotAuthorized,
			"client_id": auth.BadClientID, "banned": auth.Banned, "unavailable": auth.Unavailable, "busy": auth.Busy}[s.Reason]
		if !ok {
			return auth.Answer{}, errAnswer
		}
		return auth.Answer{Verdict: auth.Deny, Refusal: refusal, CacheSec: s.Cache}, nil
	case "ignore":
		return auth.Answer{Verdict: auth.Pass, CacheSec: s.Cache}, nil
	default:
		return auth.Answer{}, errAnswer
	}
	var err error
	if a.Rules, err = auth.ParseRules(source, s.ACL); err != nil {
		return auth.Answer{}, errAnswer
	}
	return a, nil
}
