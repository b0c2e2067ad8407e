package command

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"

	"github.com/fxamacker/cbor/v2"
)

// Decode appends the commands of one frame to dst. array tells that they came as an array. What is no command comes as one
// with Bad set; a frame that can't be taken apart, or holds more than BatchMax, as a single such one.
func Decode(enc Encoding, frame []byte, dst []Command) (list []Command, array bool) {
	items, array, bad := split(enc, frame)
	if bad != nil {
		return append(dst, Command{Bad: bad}), false
	}
	for _, item := range items {
		dst = append(dst, one(enc, item))
	}
	return dst, array
}

func one(enc Encoding, item []byte) Command {
	var f fields
	if enc == CBOR {
		if err := strict.Unmarshal(item, &f); err != nil {
			return f.command(whatFailedCBOR(err))
		}
		return f.command(nil)
	}
	if err := json.Unmarshal(item, &f); err != nil {
		return f.command(whatFailedJSON(err))
	}
	return f.command(nil)
}

// split takes an array apart. It looks at no more items than there may be.
func split(enc Encoding, frame []byte) (items [][]byte, array bool, bad *Error) {
	if enc == CBOR {
		return splitCBOR(frame)
	}
	if first := bytes.TrimLeft(frame, " \t\r\n"); len(first) == 0 || first[0] != '[' {
		return [][]byte{frame}, false, nil
	}
	d := json.NewDecoder(bytes.NewReader(frame))
	if _, err := d.Token(); err != nil {
		return nil, false, ErrCommand
	}
	for d.More() {
		var item json.RawMessage
		if err := d.Decode(&item); err != nil {
			return nil, false, ErrCommand
		}
		if len(items) == BatchMax {
			return nil, false, ErrBatch
		}
		items = append(items, item)
	}
	if _, err := d.Token(); err != nil {
		return nil, false, ErrCommand
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, false, ErrCommand
	}
	return items, true, nil
}

// properties are pairs of name and value. Of JSON only as many are read as show that there are too many, and in place of a wrong one
// there is nil: a megabyte of [] would take fifty, and an error would hide the fields behind it. CBOR has its own bounds.
type properties [][]string

// UnmarshalJSON is part of json.Unmarshaler.
func (p *properties) UnmarshalJSON(text []byte) error {
	if *p = nil; string(text) == "null" {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(text))
	if first, err := d.Token(); err != nil || first != json.Delim('[') {
		*p = properties{nil}
		return nil
	}
	for d.More() && len(*p) <= PropertiesMax {
		var items [3]json.RawMessage // what is behind these is not kept
		pair := make([]string, 2)
		if d.Decode(&items) != nil || items[2] != nil || json.Unmarshal(items[0], &pair[0]) != nil || json.Unmarshal(items[1], &pair[1]) != nil {
			pair = nil
		}
		*p = append(*p, pair)
	}
	return nil
}

func whatFailedJSON(err error) *Error {
	var field *json.UnmarshalTypeError
	if errors.As(err, &field) && field.Field != "" {
		return Field(field.Field, kindOf(field.Field))
	}
	if errors.Is(err, errForeign) {
		return ErrPayload
	}
	return ErrCommand
}

func whatFailedCBOR(err error) *Error {
	var field *cbor.UnmarshalTypeError
	if errors.As(err, &field) && field.StructFieldName != "" {
		name := nameOf(field.StructFieldName)
		return Field(name, kindOf(name))
	}
	return ErrCommand
}

// kindOf is what a field must be, for people.
func kindOf(name string) string {
	switch name {
	case "id", "expiry_s", "timeout_ms", "resume_s", "qos", "down_qos", "retain_handling", "ack", "inflight":
		return "a whole number in its range"
	case "retain", "no_local", "retain_as_published", "presence", "batch":
		return "true or false"
	case "acks":
		return "an array of numbers from 1 to 65535"
	case "properties":
		return "an array of pairs of strings"
	case "data":
		return "a byte string"
	}
	return "a string"
}
