package acl

import "strings"

// Actions are what a rule is about.
type Actions uint8

// A message is delivered by leave to subscribe to its topic.
const (
	Publish Actions = 1 << iota
	Subscribe
)

// OnDeny is what happens to a device that does what it may not.
type OnDeny uint8

// Ignore answers as if all were well, Reason tells, Disconnect closes.
const (
	Reason OnDeny = iota
	Ignore
	Disconnect
)

// Retained says to which messages a rule applies.
type Retained uint8

// Whether the device asks for a message to be retained.
const (
	Either Retained = iota
	RetainedOnly
	NotRetained
)

// Rule is one line of a policy. The first rule that matches decides.
type Rule struct {
	Allow   bool
	Actions Actions
	Filter  string // of topics; levels may be ${clientid} ${username} ${tenant} ${cert.cn}
	QoSMax  byte   // of an allow rule: the highest that is allowed
	Retain  Retained
	OnDeny  OnDeny // of a deny rule
	Source  string // where it stands, such as acl.yaml:12, or jwt

	// Whom it is about: patterns in which * stands for any text. Empty: everybody. No pattern is about a device whose value is empty.
	Client, User, Tenant string
}

// isAbout tells whether the rule is about a device.
func (r *Rule) isAbout(who *Who) bool {
	return (r.Client == "" || fits(r.Client, who.ClientID)) && (r.User == "" || fits(r.User, who.Username)) && (r.Tenant == "" || fits(r.Tenant, who.Tenant))
}

// fits tells whether a value that is not empty is what pattern says. Each * takes as little as it can, but for the last: so the time is bounded
// by the product of both lengths, and nothing is tried twice.
func fits(pattern, value string) bool {
	if value == "" {
		return false
	}
	first, rest, wild := strings.Cut(pattern, "*")
	if !wild {
		return pattern == value
	}
	value, ok := strings.CutPrefix(value, first)
	for ok {
		part, after, more := strings.Cut(rest, "*")
		if !more {
			return strings.HasSuffix(value, part)
		}
		_, value, ok = strings.Cut(value, part)
		rest = after
	}
	return false
}
