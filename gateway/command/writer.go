package command

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"strconv"
	"unicode/utf8"
)

// writer appends one object, as a JSON object or a CBOR map of fewer than 24 pairs, whose count is known at the end. It
// reflects on nothing and allocates nothing.
type writer struct {
	dst  []byte
	cbor bool
	at   int // of the CBOR map's head
	n    int // pairs so far
}

func begin(dst []byte, enc Encoding) writer {
	w := writer{dst: dst, cbor: enc == CBOR, at: len(dst)}
	if w.cbor {
		w.dst = append(w.dst, majorMap<<5)
	} else {
		w.dst = append(w.dst, '{')
	}
	return w
}

func (w *writer) end() []byte {
	if w.cbor {
		w.dst[w.at] |= byte(w.n)
		return w.dst
	}
	return append(w.dst, '}')
}

// nest begins an object that is the value of key; close it with unnest.
func (w *writer) nest(key string) writer {
	w.key(key)
	if w.cbor {
		return begin(w.dst, CBOR)
	}
	return begin(w.dst, JSON)
}

func (w *writer) unnest(inner *writer) { w.dst = inner.end() }

func (w *writer) key(k string) {
	if w.n++; w.cbor {
		w.dst = append(appendHead(w.dst, majorText, uint64(len(k))), k...)
		return
	}
	if w.n > 1 {
		w.dst = append(w.dst, ',')
	}
	w.dst = append(append(append(w.dst, '"'), k...), `":`...)
}

func (w *writer) uint(k string, v uint64) {
	w.key(k)
	if w.cbor {
		w.dst = appendHead(w.dst, majorUint, v)
		return
	}
	w.dst = strconv.AppendUint(w.dst, v, 10)
}

func (w *writer) bool(k string, v bool) {
	w.key(k)
	switch {
	case w.cbor && v:
		w.dst = append(w.dst, 0xF5)
	case w.cbor:
		w.dst = append(w.dst, 0xF4)
	default:
		w.dst = strconv.AppendBool(w.dst, v)
	}
}

// flag writes true, or nothing.
func (w *writer) flag(k string, v bool) {
	if v {
		w.bool(k, true)
	}
}

func text[T string | []byte](w *writer, k string, v T) {
	w.key(k)
	item(w, v)
}

// item appends a string that is a value by itself.
func item[T string | []byte](w *writer, v T) {
	if w.cbor {
		w.dst = append(appendHead(w.dst, majorText, uint64(len(v))), v...)
		return
	}
	w.dst = appendString(w.dst, v)
}

// list begins an array of n items; separate comes before each, unlist after all.
func (w *writer) list(k string, n int) {
	if w.key(k); w.cbor {
		w.dst = appendHead(w.dst, majorArray, uint64(n))
		return
	}
	w.dst = append(w.dst, '[')
}

func (w *writer) separate(i int) {
	if !w.cbor && i > 0 {
		w.dst = append(w.dst, ',')
	}
}

func (w *writer) unlist() {
	if !w.cbor {
		w.dst = append(w.dst, ']')
	}
}

// Form is how a payload is written as JSON.
type Form uint8

const (
	FormUnknown Form = iota // not looked at yet
	formBase64
	formJSON
	formText
)

// FormOf is the first form that can hold p. It looks at all of p, some 3 ms for a megabyte of JSON.
func FormOf(p []byte) Form {
	switch {
	case !utf8.Valid(p): // also of what would be JSON otherwise: a text frame can't carry it
		return formBase64
	case isJSON(p):
		return formJSON
	}
	return formText
}

// payload writes bytes; form is theirs if it is known.
func (w *writer) payload(p []byte, form Form) {
	if w.cbor {
		w.key("data")
		w.dst = append(appendHead(w.dst, majorBytes, uint64(len(p))), p...)
		return
	}
	if form == FormUnknown {
		form = FormOf(p)
	}
	switch form {
	case formBase64:
		w.key("base64")
		w.dst = append(w.dst, '"')
		w.dst = base64.StdEncoding.AppendEncode(w.dst, p)
		w.dst = append(w.dst, '"')
	case formJSON:
		w.key("json")
		w.dst = append(w.dst, p...)
	default:
		text(w, "text", p)
	}
}

// isJSON looks at the first byte before it looks at all of them.
func isJSON(p []byte) bool {
	if len(p) == 0 {
		return false
	}
	switch c := p[0]; {
	case c == '{', c == '[', c == '"', c == '-', c >= '0' && c <= '9', c == 't', c == 'f', c == 'n', c == ' ', c == '\t', c == '\r', c == '\n':
		return json.Valid(p)
	}
	return false
}

// appendString appends v, which is UTF-8, as a JSON string.
func appendString[T string | []byte](dst []byte, v T) []byte {
	const digits = "0123456789abcdef"
	dst = append(dst, '"')
	from := 0
	for i := range len(v) {
		c := v[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, v[from:i]...)
		from = i + 1
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, `\n`...)
		case '\r':
			dst = append(dst, `\r`...)
		case '\t':
			dst = append(dst, `\t`...)
		default:
			dst = append(dst, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
		}
	}
	return append(append(dst, v[from:]...), '"')
}

// appendHead appends the head of a CBOR item, in its shortest form (RFC 8949 §4.2.1).
func appendHead(dst []byte, major byte, n uint64) []byte {
	major <<= 5
	switch {
	case n < 24:
		return append(dst, major|byte(n))
	case n <= 0xFF:
		return append(dst, major|24, byte(n))
	case n <= 0xFFFF:
		return binary.BigEndian.AppendUint16(append(dst, major|25), uint16(n))
	case n <= 0xFFFFFFFF:
		return binary.BigEndian.AppendUint32(append(dst, major|26), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(dst, major|27), n)
}
