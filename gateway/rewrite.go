package gateway

import (
	"bytes"
	"cmp"
	"fmt"
	"strconv"
	"strings"

	"github.com/tidegate/tidegate/bus"
	"github.com/tidegate/tidegate/gateway/mqtt"
)

// TopicRewrite is a rule for devices whose topics can't be changed where they are built in: what matches From is taken for To.
type TopicRewrite struct {
	From string `yaml:"from" doc:"filter; its wildcards are {1}, {2}, ... in to"`
	To   string `yaml:"to" doc:"topic in its place; may hold {1}, {2}, ... and {client-id}"`
	On   string `yaml:"on" doc:"publish, subscribe or both; empty for both"`
}

// rewriteRule is a TopicRewrite made ready.
type rewriteRule struct {
	from      []string // levels
	to        []rewritePart
	publish   bool
	subscribe bool
}

// rewritePart is text, or what stands for a place.
type rewritePart struct {
	text  string
	place int // of a wildcard, from 1; clientIDPart; 0: text
}

const clientIDPart = -1

// newRewriteRules makes the rules ready. They were validated.
func newRewriteRules(rules []TopicRewrite) []rewriteRule {
	var all []rewriteRule
	for _, r := range rules {
		all = append(all, rewriteRule{
			from: strings.Split(r.From, "/"), to: rewriteParts(r.To),
			publish: r.On != "subscribe", subscribe: r.On != "publish",
		})
	}
	return all
}

// rewriteParts cuts a template at its places.
func rewriteParts(to string) (parts []rewritePart) {
	for to != "" {
		open := strings.IndexByte(to, '{')
		end := strings.IndexByte(to, '}')
		if open < 0 || end < open {
			return append(parts, rewritePart{text: to})
		}
		place := clientIDPart
		if to[open:end+1] != clientIDPlace {
			n, err := strconv.Atoi(to[open+1 : end])
			if err != nil || n < 1 {
				parts, to = append(parts, rewritePart{text: to[:end+1]}), to[end+1:]
				continue
			}
			place = n
		}
		if open > 0 {
			parts = append(parts, rewritePart{text: to[:open]})
		}
		parts, to = append(parts, rewritePart{place: place}), to[end+1:]
	}
	return parts
}

// rewriteWildcardsMax is how many wildcards a rule may have.
const rewriteWildcardsMax = 16

// match finds what the wildcards of the rule stand for in a topic or filter. The wildcards of a filter are levels like others,
// but # is more than one level, so that only # takes it.
func (r *rewriteRule) match(topic []byte, found *[rewriteWildcardsMax][]byte) (n int, ok bool) {
	if len(topic) == 0 || topic[0] == '$' {
		// Nothing is what an alias of a refused topic stands for. No rule begins with $, and a wildcard does not stand for it
		// [MQTT-4.7.2-1].
		return 0, false
	}
	rest, more := topic, true
	for _, want := range r.from {
		if want == "#" {
			if found[n] = nil; more { // else the topic ends here: "a/#" matches "a"
				found[n] = rest
			}
			return n + 1, true
		}
		if !more {
			return 0, false
		}
		var level []byte
		level, rest, more = bytes.Cut(rest, []byte{'/'})
		switch {
		case want == "+" && string(level) != "#":
			found[n] = level
			n++
		case want != string(level):
			return 0, false
		}
	}
	return n, !more
}

// rewrite is the topic that a device's topic or filter is taken for; the first rule that matches decides. What is returned is
// the topic itself, or lies in the shard's arena until the packet is done.
func (s *shard) rewrite(topic []byte, clientID string, subscribe bool) []byte {
	if !subscribe {
		s.rewritten = s.rewritten[:0]
	}
	for i := range s.rewrites {
		r := &s.rewrites[i]
		if subscribe && !r.subscribe || !subscribe && !r.publish {
			continue
		}
		var found [rewriteWildcardsMax][]byte
		if _, ok := r.match(topic, &found); !ok || !r.fits(clientID) {
			continue
		}
		from := len(s.rewritten)
		if s.rewritten = r.append(s.rewritten, clientID, &found); len(s.rewritten) == from {
			continue // nothing is no topic
		}
		s.count.rewrites++
		return s.rewritten[from:len(s.rewritten):len(s.rewritten)]
	}
	return topic
}

// append appends the rule's topic.
func (r *rewriteRule) append(dst []byte, clientID string, found *[rewriteWildcardsMax][]byte) []byte {
	for _, p := range r.to {
		switch {
		case p.place == 0:
			dst = append(dst, p.text...)
		case p.place == clientIDPart:
			dst = append(dst, clientID...)
		case found[p.place-1] == nil: // no level, so that the separator before it has none to part
			dst = bytes.TrimSuffix(dst, []byte{'/'})
		default:
			dst = append(dst, found[p.place-1]...)
		}
	}
	return dst
}

// fits tells whether the rule can be used for a device: an id that is more than a level must not become one.
func (r *rewriteRule) fits(clientID string) bool {
	for _, p := range r.to {
		if p.place == clientIDPart && !isLevel(clientID) {
			return false
		}
	}
	return true
}

// isLevel tells whether a client id can stand for one level of a topic or filter.
func isLevel(clientID string) bool {
	return clientID != "" && clientID[0] != '$' && !strings.ContainsAny(clientID, "/+#")
}

// rewriteFilter is rewrite for a filter, whose group stays.
func (s *shard) rewriteFilter(filter []byte, clientID string) []byte {
	if len(s.rewrites) == 0 {
		return filter
	}
	rest, shared := bytes.CutPrefix(filter, []byte("$share/"))
	if !shared {
		return s.rewrite(filter, clientID, true)
	}
	group, plain, _ := bytes.Cut(rest, []byte{'/'})
	to := s.rewrite(plain, clientID, true)
	if len(to) > 0 && len(plain) > 0 && &to[0] == &plain[0] {
		return filter
	}
	whole := append(append([]byte("$share/"), group...), '/')
	return append(whole, to...)
}

// rewriteCommand is rewriteFilter for the filter of a command.
func (s *shard) rewriteCommand(filter string, d *device) string {
	if len(s.rewrites) == 0 {
		return filter
	}
	s.rewritten = s.rewritten[:0]
	return string(s.rewriteFilter([]byte(filter), d.clientID()))
}

// validateRewrites is part of Validate.
func (c *Config) validateRewrites(v *validator) {
	for i, r := range c.TopicRewrite {
		path := fmt.Sprintf("topic_rewrite[%d]", i)
		v.oneOf(path+".on", cmp.Or(r.On, "both"), "publish", "subscribe", "both")
		wild := strings.Count(r.From, "+") + strings.Count(r.From, "#")
		switch {
		case !mqtt.ValidFilter([]byte(r.From)) || r.From[0] == '$':
			v.add(path+".from", fmt.Sprintf("%q is not a topic filter", r.From), "a filter such as old/+/temp, that does not begin with $")
			continue
		case wild > rewriteWildcardsMax:
			v.add(path+".from", fmt.Sprintf("%d wildcards are more than %d", wild, rewriteWildcardsMax), "")
			continue
		}
		var sample []byte
		for _, p := range rewriteParts(r.To) {
			switch {
			case p.place > wild:
				v.add(path+".to", fmt.Sprintf("{%d} has no wildcard in from: %q has %d", p.place, r.From, wild), "")
			case strings.ContainsAny(p.text, "{}"):
				v.add(path+".to", fmt.Sprintf("%q is no place", p.text), "{1}, {2}, ... for the wildcards of from, or "+clientIDPlace)
			}
			if sample = append(sample, p.text...); p.place != 0 {
				sample = append(sample, 'x')
			}
		}
		if !mqtt.ValidTopic(sample) || bus.Reserved(sample) {
			v.add(path+".to", fmt.Sprintf("%q is not a topic", r.To), "a topic such as devices/{1}/temperature, without wildcards")
		}
	}
}
