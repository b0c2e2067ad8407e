package auth

import (
	"bytes"
	"encoding/base64"
	"strings"
	"testing"
)

// TestParseUsers: each wrong line is named with file and number, and never shown.
func TestParseUsers(t *testing.T) {
	anna := strings.TrimSpace(file(t, "anna"))
	salt, key := base64.StdEncoding.EncodeToString(make([]byte, 16)), base64.StdEncoding.EncodeToString(make([]byte, 32))
	secret := "S3cretKeyMaterial"
	for name, tc := range map[string]struct{ text, say string }{
		"one user":                  {anna, ""},
		"comments and CRLF":         {"# people\r\n\r\n  \n" + anna + "\r\n", ""},
		"no users":                  {" \n", "users: no users in it"},
		"nobody":                    {"# none\n", ""},
		"whose device":              {anna + " tenant=acme client=AA:BB:CC", ""},
		"an odd device":             {anna + " client=", "users:1: client=: the name is empty"},
		"two devices":               {anna + " client=a client=b", "users:1: something behind the keys"},
		"too few fields":            {anna + "\nbob:" + secret, "users:2: not of the form NAME:"},
		"no name":                   {":4096:" + salt + ":" + key + ":" + key, "users:1: the name is empty"},
		"a name in an indent":       {" " + anna, "users:1: the name begins with"},
		"a name with a tab":         {"a\tb:4096:" + salt + ":" + key + ":" + key, "users:1: the name has characters"},
		"a name devices can't send": {"no\u00AA:4096:" + salt + ":" + key + ":" + key, `users:1: devices send this name as "noa"`},
		"a name too long":           {strings.Repeat("x", 257) + ":4096:" + salt + ":" + key + ":" + key, "longer than 256 bytes"},
		"iterations in words":       {"bob:" + secret + ":" + salt + ":" + key + ":" + key, "users:1: the iterations are not a number"},
		"too few iterations":        {"bob:4095:" + salt + ":" + key + ":" + key, "users:1: 4095 iterations are not between 4096 and"},
		"too many iterations":       {"bob:10000001:" + salt + ":" + key + ":" + key, "10000001 iterations are not between"},
		"a salt that is no b64":     {"bob:4096:" + secret + ":" + key + ":" + key, "users:1: the salt is not base64"},
		"a short salt":              {"bob:4096:AAAA:" + key + ":" + key, "a salt of 3 bytes is not between 8 and 64"},
		"a short key":               {"bob:4096:" + salt + ":AAAA:" + key, "users:1: a key does not have the 32 bytes"},
		"a key that is no b64":      {"bob:4096:" + salt + ":" + key + ":" + secret, "users:1: the server key is not base64"},
		"twice":                     {anna + "\n\n" + anna, "users:3: the user has a line already, 1"},
		"two wrong lines":           {"x\ny\n", "users:2: not of the form"},
		"many wrong lines":          {strings.Repeat("x\n", 100), "users:10: not of the form"},
	} {
		_, err := ParseUsers("users", []byte(tc.text))
		if tc.say == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), tc.say) {
			t.Errorf("%s: %v, want %q", name, err, tc.say)
			continue
		}
		if strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), key) || strings.Contains(err.Error(), "users:11") {
			t.Errorf("%s: shows too much: %v", name, err)
		}
	}
}

// TestNewUser refuses what could not be read back, or not be used.
func TestNewUser(t *testing.T) {
	salt := make([]byte, SaltBytes)
	for _, tc := range []struct {
		name, password string
		salt           []byte
		iterations     int
		say            string
	}{
		{"", "x", salt, IterationsMin, "name is empty"}, {"#x", "x", salt, IterationsMin, "begins with #"},
		{"a\nb", "x", salt, IterationsMin, "cannot be shown"}, {"no\u00AA", "x", salt, IterationsMin, `devices send this name as "noa"`},
		{"\u0221", "x", salt, IterationsMin, "the name has characters that SCRAM does not take"}, {"a", "", salt, IterationsMin, "password is empty"},
		{"a", "x", salt, 1000, "1000 iterations"}, {"a", "x", nil, IterationsMin, "salt of 0 bytes"},
		{"a", "hunter2\x00", salt, IterationsMin, "does not take"},
	} {
		_, err := NewUser(tc.name, tc.password, tc.salt, tc.iterations)
		if err == nil || !strings.Contains(err.Error(), tc.say) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v, want %q", tc.name, err, tc.say)
		}
	}
}

// FuzzUsers: no file makes it panic, and a line that is taken is written back as a line that says the same.
func FuzzUsers(f *testing.F) {
	f.Add([]byte(file(f, "anna", "b:o:b")))
	f.Add([]byte("# x\r\n:::::\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if _, err := ParseUsers("users", text); err != nil {
			return
		}
		for line := range bytes.Lines(text) {
			u, err := parseUser(string(bytes.TrimRight(line, "\r\n")))
			if err != nil {
				continue // a comment
			}
			again, err := parseUser(u.String())
			if err != nil || again.String() != u.String() || again.Name != u.Name {
				t.Fatalf("%q reads back as %q: %v", u, again, err)
			}
		}
	})
}
