package acl

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
)

// place is what a level of a rule stands for: itself, or a value of the device.
type place uint8

const (
	clientID place = iota
	username
	tenant
	cn
	placeCount
	literal = placeCount
)

var placeTexts = [placeCount]string{clientID: "${clientid}", username: "${username}", tenant: "${tenant}", cn: "${cert.cn}"}

// placeOf is what a level of a filter stands for.
func placeOf(text string) place {
	for p, name := range placeTexts {
		if text == name {
			return place(p)
		}
	}
	return literal
}

// value is the device's value for a place.
func (w *Who) value(p place) string {
	switch p {
	case clientID:
		return w.ClientID
	case username:
		return w.Username
	case tenant:
		return w.Tenant
	}
	return w.CN
}

// standsForLevel tells whether a value can be the level of a topic. It has no separator in it when it equals one.
func standsForLevel(text []byte) bool { return len(text) > 0 && !bytes.ContainsAny(text, "+#\x00") }

// where is how a person finds the rule.
func (r *Rule) where(i int) string {
	if r.Source != "" {
		return r.Source
	}
	return fmt.Sprintf("rule %d", i+1)
}

// check is what is wrong with a rule.
func (r *Rule) check() error {
	switch {
	case r.Actions == 0 || r.Actions&^(Publish|Subscribe) != 0:
		return errors.New("it is about neither publish nor subscribe")
	case r.QoSMax > 2:
		return fmt.Errorf("QoS %d is above 2", r.QoSMax)
	case r.Retain > NotRetained || r.OnDeny > Disconnect:
		return errors.New("retain or on_deny has no such value")
	case r.Filter == "" || strings.ContainsRune(r.Filter, 0):
		return errors.New("the filter is empty, or has U+0000 in it")
	case strings.HasPrefix(r.Filter, "$share/"):
		return errors.New("a rule is about topics: write the filter without $share/GROUP/, it holds for shared subscriptions too")
	}
	levels := strings.Split(r.Filter, "/")
	if len(levels) > LevelsMax {
		return fmt.Errorf("the filter has %d levels; at most %d are possible", len(levels), LevelsMax)
	}
	for i, l := range levels {
		switch {
		case l == "#" && i < len(levels)-1:
			return fmt.Errorf("filter %q: # has to be the last level", r.Filter)
		case l != "#" && l != "+" && strings.ContainsAny(l, "+#"):
			return fmt.Errorf("filter %q: + and # have to be a level of their own", r.Filter)
		case strings.Contains(l, "${") && placeOf(l) == literal:
			return fmt.Errorf("filter %q: level %q; ${clientid}, ${username}, ${tenant} and ${cert.cn} are known, each as a level of its own", r.Filter, l)
		}
	}
	return nil
}
