package acl

import (
	"errors"
	"fmt"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// A file of rules is walked as a syntax tree instead of being decoded, so that one look at it names all that is wrong, each with its place.

// problemsMax is how many problems of a file are told.
const problemsMax = 20

// Parse reads rules from YAML: a list of mappings with the keys permission, action, topic, qos, retain, on_deny, client, user and tenant, as
// docs/permissions.md has them. name is what the Source of rules and errors begin with; those are name:line:column, one a line. Nothing
// that is not understood is passed over: a rule that says less than it was meant to would let in more.
func Parse(name string, text []byte) ([]Rule, error) {
	r := reader{name: name}
	file, err := parser.ParseBytes(text, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		var located yaml.Error
		if errors.As(err, &located) {
			r.add(located.GetToken(), "not YAML: %s", located.GetMessage())
		} else {
			r.add(nil, "not YAML: %s", err)
		}
		return nil, errors.Join(r.problems...)
	}
	for i, doc := range file.Docs {
		switch {
		case doc.Body == nil:
		case i > 0:
			r.add(doc.Body.GetToken(), "a second document: the rules are one")
		default:
			r.list(doc.Body)
		}
	}
	if len(r.problems) > 0 {
		return nil, errors.Join(r.problems...)
	}
	return r.rules, nil
}

// reader gathers rules, and what is wrong with them.
type reader struct {
	name     string
	rules    []Rule
	problems []error
}

func (r *reader) add(at *token.Token, format string, args ...any) {
	if len(r.problems) < problemsMax {
		r.problems = append(r.problems, fmt.Errorf("%s: %s", r.place(at, true), fmt.Sprintf(format, args...)))
	}
}

// place is name:line, or name:line:column.
func (r *reader) place(at *token.Token, column bool) string {
	switch {
	case at == nil || at.Position == nil:
		return r.name
	case column:
		return fmt.Sprintf("%s:%d:%d", r.name, at.Position.Line, at.Position.Column)
	}
	return fmt.Sprintf("%s:%d", r.name, at.Position.Line)
}

func (r *reader) list(node ast.Node) {
	switch n := node.(type) {
	case *ast.NullNode, *ast.CommentGroupNode: // no rule at all
	case *ast.SequenceNode:
		for _, element := range n.Values {
			r.rule(element)
		}
	default:
		r.add(node.GetToken(), "rules are a list; each begins with - permission: allow or deny")
	}
}

// said is a rule as far as it is read: which keys it has, and where its topics stand.
type said struct {
	rule   Rule
	topics []ast.Node
	seen   map[string]*token.Token
}

// rule reads one element of the list: a rule for each of its topics.
func (r *reader) rule(node ast.Node) {
	var values []*ast.MappingValueNode
	switch n := node.(type) {
	case *ast.MappingNode:
		values = n.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{n}
	default:
		r.add(node.GetToken(), "a rule has keys: permission, action and topic at least")
		return
	}
	if len(values) == 0 {
		r.add(node.GetToken(), "a rule has keys: permission, action and topic at least")
		return
	}
	before := len(r.problems)
	s := said{rule: Rule{QoSMax: 2}, seen: map[string]*token.Token{}}
	for _, v := range values {
		at := v.Key.GetToken()
		if _, ok := v.Key.(*ast.StringNode); !ok {
			r.add(at, "%s is not a key of a rule", strings.TrimSpace(v.Key.String()))
			continue
		}
		if s.seen[at.Value] != nil {
			r.add(at, "%q stands here a second time", at.Value)
			continue
		}
		s.seen[at.Value] = at
		if wrong := s.set(at.Value, v.Value); wrong != "" {
			place := v.Value.GetToken()
			if _, unknown := keys[at.Value]; !unknown {
				place = at
			}
			r.add(place, "%s", wrong)
		}
	}
	for _, key := range []string{"permission", "action", "topic"} {
		if s.seen[key] == nil {
			r.add(values[0].Key.GetToken(), "the rule has no %s", key)
		}
	}
	switch {
	case s.rule.Allow && s.seen["on_deny"] != nil:
		r.add(s.seen["on_deny"], "on_deny is for rules that deny")
	case !s.rule.Allow && s.seen["qos"] != nil:
		r.add(s.seen["qos"], "qos is for rules that allow: up to which QoS; a deny holds for all")
	case s.rule.Actions == Subscribe && s.seen["retain"] != nil:
		r.add(s.seen["retain"], "retain is about what is published")
	}
	if len(r.problems) > before {
		return
	}
	for _, t := range s.topics {
		r.topic(s.rule, t)
	}
}

// topic adds a rule for one topic.
func (r *reader) topic(rule Rule, node ast.Node) {
	rule.Filter, _ = text(node)
	rule.Source = r.place(node.GetToken(), false)
	if err := rule.check(); err != nil {
		r.add(node.GetToken(), "%s", err)
		return
	}
	r.rules = append(r.rules, rule)
}

// keys are those of a rule, and what each wants.
var keys = map[string]string{
	"permission": "allow or deny", "action": "publish, subscribe or all", "topic": "a topic filter, or a list of them", "qos": "0, 1 or 2",
	"retain": "true or false", "on_deny": "reason, ignore or disconnect", "client": "a client id, where * stands for anything",
	"user": "a user name, where * stands for anything", "tenant": "a tenant's name, where * stands for anything",
}

const keyNames = "permission, action, topic, qos, retain, on_deny, client, user, tenant"

// set takes the value of one key; wrong tells what is not as it should be.
func (s *said) set(key string, node ast.Node) (wrong string) {
	wants, known := keys[key]
	if !known {
		return fmt.Sprintf("unknown key %q; a rule has %s", key, keyNames)
	}
	if !s.take(key, node) {
		return key + " wants " + wants
	}
	return ""
}

func (s *said) take(key string, node ast.Node) (ok bool) {
	r := &s.rule
	value, isText := text(node)
	switch key {
	case "permission":
		r.Allow = value == "allow"
		return r.Allow || value == "deny"
	case "action":
		r.Actions, ok = actionNames[value]
		return ok
	case "topic":
		s.topics, ok = topics(node)
		return ok
	case "qos":
		r.QoSMax, ok = qos(node)
		return ok
	case "retain":
		flag, isFlag := node.(*ast.BoolNode)
		if r.Retain = NotRetained; isFlag && flag.Value {
			r.Retain = RetainedOnly
		}
		return isFlag
	case "on_deny":
		r.OnDeny, ok = onDenyNames[value]
		return ok
	case "client":
		r.Client = value
	case "user":
		r.User = value
	case "tenant":
		r.Tenant = value
	}
	return isText && value != ""
}

var (
	actionNames = map[string]Actions{"publish": Publish, "subscribe": Subscribe, "all": Publish | Subscribe}
	onDenyNames = map[string]OnDeny{"reason": Reason, "ignore": Ignore, "disconnect": Disconnect}
)

// topics are one or more filters.
func topics(node ast.Node) (list []ast.Node, ok bool) {
	seq, isList := node.(*ast.SequenceNode)
	if !isList {
		_, ok = text(node)
		return []ast.Node{node}, ok
	}
	for _, n := range seq.Values {
		if _, ok = text(n); !ok {
			return nil, false
		}
	}
	return seq.Values, len(seq.Values) > 0
}

func qos(node ast.Node) (q byte, ok bool) {
	n, isWhole := node.(*ast.IntegerNode)
	if !isWhole {
		return 0, false
	}
	v, ok := n.Value.(uint64)
	return byte(min(v, 3)), ok && v <= 2
}

func text(node ast.Node) (string, bool) {
	switch n := node.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	}
	return "", false
}
