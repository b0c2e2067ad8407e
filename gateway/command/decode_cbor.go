package command

import (
	"errors"
	"reflect"
	"strings"

	"github.com/fxamacker/cbor/v2"
)

// strict is CBOR without what can surprise: no lengths that are told at the end, no keys that come twice, no tags, no names that
// match in another case, and bounds on everything that nests or repeats.
var strict = func() cbor.DecMode {
	mode, err := cbor.DecOptions{
		DupMapKey: cbor.DupMapKeyEnforcedAPF, IndefLength: cbor.IndefLengthForbidden, TagsMd: cbor.TagsForbidden,
		MaxNestedLevels: depthMax, MaxArrayElements: AcksMax + 1, MaxMapPairs: 64,
		FieldNameMatching: cbor.FieldNameMatchingCaseSensitive, UTF8: cbor.UTF8RejectInvalid,
	}.DecMode()
	if err != nil {
		panic(err) // the options contradict each other
	}
	return mode
}()

// Major types of CBOR (RFC 8949 §3.1).
const (
	majorUint  = 0
	majorBytes = 2
	majorText  = 3
	majorArray = 4
	majorMap   = 5
)

func splitCBOR(frame []byte) (items [][]byte, array bool, bad *Error) {
	if len(frame) == 0 || frame[0]>>5 != majorArray {
		return [][]byte{frame}, false, nil
	}
	var raw []cbor.RawMessage
	if err := strict.Unmarshal(frame, &raw); err != nil {
		var long *cbor.MaxArrayElementsError
		if errors.As(err, &long) {
			return nil, false, ErrBatch
		}
		return nil, false, ErrCommand
	}
	if len(raw) > BatchMax {
		return nil, false, ErrBatch
	}
	for _, item := range raw {
		items = append(items, item)
	}
	return items, true, nil
}

// data is a byte string, which JSON does not have.
type data []byte

var errForeign = errors.New("command: a payload of the other encoding")

func (d *data) UnmarshalJSON([]byte) error { return errForeign }

// foreign is a payload that CBOR does not have; what it holds does not matter.
type foreign struct{}

func (f *foreign) UnmarshalCBOR([]byte) error { return nil }

// nameOf is the key of a field, as the decoder names the struct's.
func nameOf(field string) string {
	_, field, _ = cutLast(field)
	if f, ok := reflect.TypeFor[fields]().FieldByName(field); ok {
		if key := f.Tag.Get("cbor"); key != "" {
			return key
		}
		return f.Tag.Get("json")
	}
	return field
}

func cutLast(s string) (before, after string, found bool) {
	if i := strings.LastIndexByte(s, '.'); i >= 0 {
		return s[:i], s[i+1:], true
	}
	return "", s, false
}
