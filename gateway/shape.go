package gateway

import "strings"

// Which filter NATS is asked for. Each filter of a session has a place in a list of forms, from the filter itself to one that has
// nothing of it but the number of its levels; each form matches whatever the one before it matches:
//
//	exact    devices/d1/cmd/reboot   the filter
//	client   devices/+/cmd/reboot    what names the client is +
//	two      devices/+/+/+           the first two levels are kept (the second names the client here)
//	one      devices/+/+/+           the first level is kept
//	none     +/+/+/+
//
// A form is used where NATS has it already; otherwise the first one that there is room for: nats.interests_max of exact ones, and as many,
// or shapesMax if that is more, of each of the next three. Of the last there are as many as a filter may have levels, twice, so the number
// of NATS subscriptions has a bound whatever devices subscribe. What is asked for once stays as it is until nobody wants it: passing a limit changes nothing for those
// subscribed already, and a message that comes for an exact filter and for a shape is sorted out by number (see interests).
type form uint8

const (
	formExact form = iota
	formClient
	formTwo
	formOne
	formNone
	forms
)

var formNames = [forms]string{"exact", "client", "two", "one", "none"}

// String is the form as a metric label.
func (f form) String() string { return formNames[f] }

// appendForm appends the filter in a form.
func appendForm(dst []byte, f form, filter, clientID string) []byte {
	switch f {
	case formExact:
		return append(dst, filter...)
	case formClient:
		return shape(dst, filter, clientID)
	}
	keep := int(formNone - f)
	from := len(dst)
	dst = shape(dst, filter, clientID)
	shaped := string(dst[from:])
	dst = dst[:from]
	for level, rest, more := cutLevel(shaped); ; level, rest, more = cutLevel(rest) {
		if keep > 0 || level == "#" {
			dst = append(dst, level...)
		} else {
			dst = append(dst, '+')
		}
		if keep--; !more {
			return dst
		}
		dst = append(dst, '/')
	}
}

// shape is the filter in the form of client: a level with the client id becomes +, so that a fleet with devices/{id}/cmd needs one
// NATS subscription, not one a device.
func shape(dst []byte, filter, clientID string) []byte {
	if clientID == "" || !strings.Contains(filter, clientID) {
		return append(dst, filter...)
	}
	for level, rest, more := cutLevel(filter); ; level, rest, more = cutLevel(rest) {
		if level == clientID && level[0] != '$' && level != "#" || len(clientID) >= clientIDTelling && strings.Contains(level, clientID) {
			dst = append(dst, '+')
		} else {
			dst = append(dst, level...)
		}
		if !more {
			return dst
		}
		dst = append(dst, '/')
	}
}

// clientIDTelling is how long a client id must be to be looked for within levels, such as cmd/dev-{id}: a shorter one may be there
// by chance.
const clientIDTelling = 6

func cutLevel(filter string) (level, rest string, more bool) { return strings.Cut(filter, "/") }

// place counts shard in for the filter of a client, in the form that there is, or is room for. key is the interest's.
func (x *interests) place(shard int, filter, clientID string) (id uint32, key string, active bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	e := x.find(filter, clientID)
	e.refs[shard]++
	return e.id, e.key, e.active
}

// find is the interest for a filter of a client, made if need be. Must be called with the lock held.
func (x *interests) find(filter, clientID string) *interest {
	client := shape(nil, filter, clientID)
	if e := x.byKey[string(interestKey(nil, string(client), ""))]; e != nil { // where there is a shape it brings the message anyway
		if string(client) != filter {
			e.form = max(e.form, formClient)
		}
		return e
	}
	var scratch []byte
	for f := range formNone {
		if f == formClient && string(client) == filter {
			continue
		}
		scratch = appendForm(scratch[:0], f, filter, clientID)
		if e := x.byKey[string(interestKey(nil, string(scratch), ""))]; e != nil {
			return e
		}
		if x.placed[f] < x.room(f) {
			return x.make(f, string(scratch), "")
		}
	}
	scratch = appendForm(scratch[:0], formNone, filter, clientID)
	if e := x.byKey[string(interestKey(nil, string(scratch), ""))]; e != nil {
		return e
	}
	return x.make(formNone, string(scratch), "")
}

// shapesMax is how many shapes of one form there may be however small nats.interests_max is.
const shapesMax = 1000

// room is how many interests of a form there may be.
func (x *interests) room(f form) int {
	if f == formExact {
		return x.max
	}
	return max(x.max, shapesMax)
}

// widen notes that an interest is the shape of some clients' filters, also if it was asked for as a filter of somebody's own.
func (x *interests) widen(id uint32) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if e := x.byID[id]; e != nil {
		e.form = max(e.form, formClient)
	}
}

// make adds an interest. Must be called with the lock held.
func (x *interests) make(f form, filter, group string) *interest {
	x.nextID++
	e := &interest{id: x.nextID, key: string(interestKey(nil, filter, group)), filter: filter, group: group, form: f, made: f, refs: make([]int32, x.shards)}
	if group != "" {
		e.members, e.live = make([]int32, x.shards), make([]int32, x.shards)
		e.strategy = x.shared.of(group)
	} else {
		x.placed[f]++
	}
	x.byKey[e.key], x.byID[e.id] = e, e
	e.untold = true
	x.push(interestOp{e, true})
	return e
}

// counts is how many interests there are by form, and of groups.
func (x *interests) counts() (byForm [forms]int, groups int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	byForm = x.placed
	groups = len(x.byID)
	for _, n := range byForm {
		groups -= n
	}
	return byForm, groups
}
