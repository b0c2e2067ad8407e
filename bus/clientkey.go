package bus

// A client id as one token of a subject and a valid key of a KV bucket:
//
//	key   = "=" / 1*( plain | "=" HEX HEX )     "=" alone is the empty id
//	plain = A-Z a-z 0-9 "_" "-"
//
// Every id has exactly one key and the other way round; the cost for ids as fleets have them is nothing.

// AppendClientKey appends the key of a client id, which may be any bytes.
func AppendClientKey(dst, id []byte) []byte {
	if len(id) == 0 {
		return append(dst, '=')
	}
	const digits = "0123456789ABCDEF"
	for _, c := range id {
		if keyPlain[c] {
			dst = append(dst, c)
			continue
		}
		dst = append(dst, '=', digits[c>>4], digits[c&15])
	}
	return dst
}

// AppendClientID appends the client id of a key. false: AppendClientKey does not make this key, and dst comes back as it was.
func AppendClientID(dst, key []byte) ([]byte, bool) {
	if len(key) == 1 && key[0] == '=' {
		return dst, true
	}
	out := dst
	for i := 0; i < len(key); i++ {
		c := key[i]
		if keyPlain[c] {
			out = append(out, c)
			continue
		}
		if c != '=' || i+2 >= len(key) {
			return dst, false
		}
		h, l := upperNibble(key[i+1]), upperNibble(key[i+2])
		if h > 15 || l > 15 || keyPlain[h<<4|l] {
			return dst, false
		}
		out = append(out, h<<4|l)
		i += 2
	}
	return out, len(key) > 0
}

// keyPlain are the bytes that stand for themselves in a key.
var keyPlain = func() (t [256]bool) {
	for c := range 256 {
		t[c] = c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-'
	}
	return t
}()

// upperNibble is the value of an upper-case hexadecimal digit, or 255.
func upperNibble(c byte) byte {
	if c >= 'a' {
		return 255
	}
	return nibble(lower(c))
}
