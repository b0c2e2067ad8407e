package bus

// Percent escapes for header values: no byte of a device can end a header, begin another, or look like a part that we wrote.
// A value goes back byte for byte with appendUnescaped.

// A byte is written as it is when its class is below the limit given to appendEscaped; all others become %XX.
const (
	always    uint8 = iota // letters, digits, most punctuation
	nameOnly               // "=": separates name and value of a user property
	textOnly               // space: separates the parts of TG
	forbidden              // "%", control characters, non-ASCII (ADR-4 wants ASCII)
)

const (
	namePlain = nameOnly  // in names of user properties: no "=", no space
	wordPlain = textOnly  // in parts of TG and queue names: no space
	textPlain = forbidden // in the rest of a header: spaces inside, too
)

var escapeClasses = func() (t [256]uint8) {
	for c := range 256 {
		if c < 0x20 || c >= 0x7f || c == '%' {
			t[c] = forbidden
		}
	}
	t[' '], t['='] = textOnly, nameOnly
	return t
}()

func appendEscaped(dst, value []byte, limit uint8) []byte {
	const digits = "0123456789ABCDEF"
	last := len(value) - 1
	for i, c := range value {
		// Spaces at the ends would be trimmed on the way.
		if escapeClasses[c] < limit && (c != ' ' || (i > 0 && i < last)) {
			dst = append(dst, c)
			continue
		}
		dst = append(dst, '%', digits[c>>4], digits[c&15])
	}
	return dst
}

// appendUnescaped is the inverse; a "%" without two hexadecimal digits stands for itself, since backends write these headers, too.
func appendUnescaped(dst []byte, value string) []byte {
	for i := 0; i < len(value); i++ {
		if c := value[i]; c != '%' || i+2 >= len(value) {
			dst = append(dst, c)
			continue
		}
		h, l := nibble(lower(value[i+1])), nibble(lower(value[i+2]))
		if h > 15 || l > 15 {
			dst = append(dst, '%')
			continue
		}
		dst = append(dst, h<<4|l)
		i += 2
	}
	return dst
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'F' {
		return c + 'a' - 'A'
	}
	return c
}
