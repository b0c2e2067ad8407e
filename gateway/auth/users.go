package auth

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/xdg-go/scram"
)

// Bounds of a user. Fewer iterations than IterationsMin make guessing cheap for who has stolen the file (RFC 7677 §4); more than
// IterationsMax keep a device busy for minutes.
const (
	IterationsMin = 4096
	IterationsMax = 10_000_000
	SaltBytes     = 16 // of a new user
	saltBytesMin  = 8
	saltBytesMax  = 64
	nameBytesMax  = 256
	keyBytes      = sha256.Size
)

// User is one line of a users file:
//
//	name:iterations:salt:stored key:server key
//
// The last three are base64. Behind them may stand tenant=TENANT, whose device it is, and client=CLIENT-ID, the only one it may have. The line cannot be used to log in, but to guess the password and to play the server, so it is
// a secret all the same.
type User struct {
	Name             string
	tenant, clientID string
	mark             Mark
	credentials      scram.StoredCredentials
}

// NewUser derives the keys of a password; salt should be SaltBytes of chance. It takes as long as the device will take.
func NewUser(name, password string, salt []byte, iterations int) (User, error) {
	if err := CheckUser(name, iterations); err != nil {
		return User{}, err
	}
	if password == "" {
		return User{}, errors.New("the password is empty")
	}
	factors := scram.KeyFactors{Salt: string(salt), Iters: iterations}
	if err := checkFactors(factors); err != nil {
		return User{}, err
	}
	client, err := scram.SHA256.NewClient(name, password, "")
	if err != nil {
		return User{}, fmt.Errorf("the password has characters that SCRAM does not take: %w", err)
	}
	credentials, err := client.GetStoredCredentialsWithError(factors)
	if err != nil {
		return User{}, fmt.Errorf("derive keys: %w", err)
	}
	return User{Name: name, credentials: credentials}, nil
}

// CheckUser is what NewUser has against a name or a number of iterations, so that nobody is asked for a password in vain.
func CheckUser(name string, iterations int) error {
	if err := checkName(name); err != nil {
		return err
	}
	return checkIterations(iterations)
}

// String is the user's line in the file.
func (u User) String() string {
	c := &u.credentials
	line := strings.Join([]string{
		u.Name, strconv.Itoa(c.Iters), base64.StdEncoding.EncodeToString([]byte(c.Salt)),
		base64.StdEncoding.EncodeToString(c.StoredKey), base64.StdEncoding.EncodeToString(c.ServerKey),
	}, ":")
	if u.tenant != "" {
		line += " tenant=" + u.tenant
	}
	if u.clientID != "" {
		line += " client=" + u.clientID
	}
	return line
}

// lineForm is how errors describe a line. They never show the line itself.
const lineForm = "NAME:ITERATIONS:SALT:STORED-KEY:SERVER-KEY, perhaps with tenant=TENANT and client=CLIENT-ID behind it"

// cutExtras is a line without what stands behind its keys. A name may have spaces, too, but it has four colons behind it.
func cutExtras(line string) (rest string, extras []string) {
	for {
		i := strings.LastIndexByte(line, ' ')
		extra := line[i+1:]
		if i < 0 || strings.Count(line[:i], ":") < 4 || !strings.HasPrefix(extra, "tenant=") && !strings.HasPrefix(extra, "client=") {
			return line, extras
		}
		line, extras = line[:i], append(extras, extra)
	}
}

// parseUser reads one line. The name may have colons, the other fields have none.
func parseUser(line string) (u User, err error) {
	u.mark = markOf(line)
	line, extras := cutExtras(line)
	if u.tenant, u.clientID, err = parseExtras(extras, "the keys", lineForm); err != nil {
		return User{}, err
	}
	fields := strings.Split(line, ":")
	n := len(fields) - 4
	if n < 1 {
		return User{}, errors.New("not of the form " + lineForm)
	}
	u.Name = strings.Join(fields[:n], ":")
	if err := checkName(u.Name); err != nil {
		return User{}, err
	}
	c := &u.credentials
	if c.Iters, err = strconv.Atoi(fields[n]); err != nil {
		return User{}, errors.New("the iterations are not a number; the line has the form " + lineForm)
	}
	var decoded [3][]byte
	for i, field := range fields[n+1:] {
		if decoded[i], err = base64.StdEncoding.DecodeString(field); err != nil {
			return User{}, fmt.Errorf("the %s is not base64", [3]string{"salt", "stored key", "server key"}[i])
		}
	}
	c.Salt, c.StoredKey, c.ServerKey = string(decoded[0]), decoded[1], decoded[2]
	if len(c.StoredKey) != keyBytes || len(c.ServerKey) != keyBytes {
		return User{}, fmt.Errorf("a key does not have the %d bytes of SCRAM-SHA-256", keyBytes)
	}
	return u, checkFactors(c.KeyFactors)
}

func checkFactors(f scram.KeyFactors) error {
	if err := checkIterations(f.Iters); err != nil {
		return err
	}
	if n := len(f.Salt); n < saltBytesMin || n > saltBytesMax {
		return fmt.Errorf("a salt of %d bytes is not between %d and %d", n, saltBytesMin, saltBytesMax)
	}
	return nil
}

func checkIterations(n int) error {
	if n < IterationsMin || n > IterationsMax {
		return fmt.Errorf("%d iterations are not between %d and %d", n, IterationsMin, IterationsMax)
	}
	return nil
}

// checkShown holds a name to what can stand in MQTT and in a header.
func checkShown(name string) error {
	switch {
	case name == "":
		return errors.New("the name is empty")
	case len(name) > nameBytesMax:
		return fmt.Errorf("the name is longer than %d bytes", nameBytesMax)
	case !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl):
		return errors.New("the name has characters that cannot be shown")
	}
	return nil
}

// checkText is checkShown for a name that has to stand in a line, too.
func checkText(name string) error {
	if err := checkShown(name); err != nil {
		return err
	}
	if strings.TrimSpace(name) != name || name[0] == '#' {
		return errors.New("the name begins with # or begins or ends with a space")
	}
	return nil
}

// checkName is checkText for a name that SCRAM has to take, too.
func checkName(name string) error {
	if err := checkText(name); err != nil {
		return err
	}
	switch sent, err := sentName(name); {
	case err != nil:
		return fmt.Errorf("the name has characters that SCRAM does not take: %w", err)
	case sent != name:
		return fmt.Errorf("devices send this name as %q, after SASLprep; name the user that", sent)
	}
	return nil
}

// sentName is how a device says a name (RFC 5802 §5.1), read from what the library's client would begin with.
func sentName(name string) (string, error) {
	client, err := scram.SHA256.NewClient(name, "", "")
	if err != nil {
		return "", err
	}
	first, err := client.NewConversation().Step("")
	if err != nil {
		return "", err
	}
	escaped, _, _ := strings.Cut(strings.TrimPrefix(first, "n,,n="), ",")
	return strings.NewReplacer("=2C", ",", "=3D", "=").Replace(escaped), nil
}

// Users are those of a file. Who is not among them gets credentials all the same, which are wrong for every password, but the
// same each time: so that asking tells nothing. They come from a secret that is made of the keys in the file, so gateways with the same
// file, and the same one after a restart, make the same ones. Read-only: safe from any goroutine.
type Users struct {
	byName map[string]int
	list   []User
	marks  map[Mark]struct{}
	secret [sha256.Size]byte
}

// ParseUsers reads a users file; name is the file's, for errors. Empty lines and those that begin with # are skipped. The error
// has a line for each wrong one, up to errorsShown. A file with nothing in it is an error, too: it may have been cut off. One with no more than
// remarks says that there are no users.
func ParseUsers(name string, text []byte) (*Users, error) {
	users := &Users{byName: map[string]int{}, marks: map[Mark]struct{}{}}
	lineOf := map[string]int{}
	secret := sha256.New()
	err := eachLine(name, text, noneOf(text, "no users in it, and no remark such as # none"), func(number int, line string) error {
		u, err := parseUser(line)
		if err != nil {
			return err
		}
		if first := lineOf[u.Name]; first != 0 {
			return fmt.Errorf("the user has a line already, %d", first)
		}
		lineOf[u.Name], users.byName[u.Name] = number, len(users.list)
		users.list = append(users.list, u)
		users.marks[u.mark] = struct{}{}
		secret.Write(u.credentials.ServerKey)
		return nil
	})
	secret.Sum(users.secret[:0])
	return users, err
}

// find is the user of a name; nil: there is none.
func (u *Users) find(name string) *User {
	if i, ok := u.byName[name]; ok {
		return &u.list[i]
	}
	return nil
}

// credentials are those of a user, or of nobody. Both are looked for in any case, so that both take as long.
func (u *Users) credentials(name string) scram.StoredCredentials {
	fake := u.fake(name)
	if user := u.find(name); user != nil {
		return user.credentials
	}
	return fake
}

// fake makes credentials for a name. Iterations and length of the salt are those of some user, so that they occur as often as
// they do among users.
func (u *Users) fake(name string) scram.StoredCredentials {
	const salt, stored, server, size = 8, 8 + saltBytesMax, 8 + saltBytesMax + keyBytes, 8 + saltBytesMax + 2*keyBytes
	p, err := hkdf.Expand(sha256.New, u.secret[:], name, size)
	if err != nil {
		panic(err) // it is not too long
	}
	factors := scram.KeyFactors{Salt: string(p[salt : salt+SaltBytes]), Iters: IterationsMin}
	if n := uint64(len(u.list)); n > 0 {
		like := &u.list[binary.BigEndian.Uint64(p)%n].credentials
		factors.Salt, factors.Iters = string(p[salt:salt+len(like.Salt)]), like.Iters
	}
	return scram.StoredCredentials{
		KeyFactors: factors,
		StoredKey:  p[stored:server], ServerKey: p[server:size],
	}
}
