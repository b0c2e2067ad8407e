package acl

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
}
