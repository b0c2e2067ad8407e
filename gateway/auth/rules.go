package auth

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/tidegate/tidegate/gateway/auth/acl"
)

// RulesMax is how many rules of its own a device may have.
const RulesMax = 256

// errRules is why rules are not taken. What stands in them is not shown: they came with credentials.
var errRules = errors.New("auth: the acl has something that docs/authentication.md does not")

// saidRule is a rule as tokens and callbacks say it.
type saidRule struct {
	Permission string `json:"permission"`
	Action     string `json:"action"`
	Topic      string `json:"topic"`
	QoS        *byte  `json:"qos"`
	Retain     *bool  `json:"retain"`
	OnDeny     string `json:"on_deny"`
}

// ParseRules reads a list of rules in JSON, none of an empty text; source is where they come from. What is not understood is an error, down to
// keys: a rule that says less than it was meant to would let in more.
func ParseRules(source string, text []byte) ([]acl.Rule, error) {
	if len(text) == 0 {
		return nil, nil
	}
	var list []saidRule
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&list); err != nil || len(list) > RulesMax {
		return nil, errRules
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errRules
	}
	var rules []acl.Rule
	for i := range list {
		rule, err := list[i].rule(fmt.Sprintf("%s:%d", source, i+1))
		if err != nil {
			return nil, err
		}
		rules = append(rules, rule)
	}
	return rules, nil
}

func (s *saidRule) rule(source string) (acl.Rule, error) {
	r := acl.Rule{Filter: s.Topic, QoSMax: 2, Source: source}
	actions, known := map[string]acl.Actions{"publish": acl.Publish, "subscribe": acl.Subscribe, "all": acl.Publish | acl.Subscribe}[s.Action]
	onDeny, said := map[string]acl.OnDeny{"": acl.Reason, "reason": acl.Reason, "ignore": acl.Ignore, "disconnect": acl.Disconnect}[s.OnDeny]
	r.Actions, r.OnDeny, r.Allow = actions, onDeny, s.Permission == "allow"
	if !known || !said || s.Topic == "" || !r.Allow && s.Permission != "deny" || s.QoS != nil && *s.QoS > 2 {
		return r, errRules
	}
	if s.QoS != nil {
		r.QoSMax = *s.QoS
	}
	if s.Retain != nil {
		r.Retain = acl.NotRetained
		if *s.Retain {
			r.Retain = acl.RetainedOnly
		}
	}
	return r, nil
}

// claimRules are those of the claim acl, nil for none.
func claimRules(claim any) ([]acl.Rule, error) {
	if claim == nil {
		return nil, nil
	}
	text, err := json.Marshal(claim)
	if err != nil {
		return nil, errRules
	}
	return ParseRules("jwt", text)
}
