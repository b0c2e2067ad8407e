package auth

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
)

// account is one line of a password file.
type account struct {
	name, tenant, clientID string
	hash                   hash
	mark                   Mark
}

// accountForm is how errors describe a line. They never show the line itself.
const accountForm = "NAME:$HASH, perhaps with tenant=TENANT and client=CLIENT-ID behind it"

// NewPassword is a line of a password file, for a hash with salt, which should be [SaltBytes] of chance. It takes as long as a login will.
func NewPassword(name, password string, salt []byte, cost HashCost) (string, error) {
	if err := CheckPassword(name, cost); err != nil {
		return "", err
	}
	switch n := len(salt); {
	case password == "":
		return "", errors.New("the password is empty")
	case n < saltBytesMin || n > saltBytesMax:
		return "", fmt.Errorf("a salt of %d bytes is not between %d and %d", n, saltBytesMin, saltBytesMax)
	}
	sum := argon2.IDKey([]byte(password), salt, cost.Passes, cost.KiB, 1, keyBytes)
	return name + ":" + (&argonHash{cost, 1, salt, sum}).String(), nil
}

// BcryptCost is that of NewBcrypt: about 60 ms of a core.
const BcryptCost = 10

// NewBcrypt is NewPassword with bcrypt, for others that read the file, too. bcrypt looks at 72 bytes, so longer passwords are refused.
func NewBcrypt(name, password string) (string, error) {
	if err := CheckPassword(name, DefaultHashCost); err != nil {
		return "", err
	}
	if n := len(password); n == 0 || n > 72 {
		return "", fmt.Errorf("the password has %d bytes; with bcrypt it has between 1 and 72", n)
	}
	hash, err := bcrypt.GenerateFromPassword([]byte(password), BcryptCost)
	if err != nil {
		return "", fmt.Errorf("bcrypt: %w", err)
	}
	return name + ":" + string(hash), nil
}

// PutLine is a password file in which the user has this line and no other; with an empty one there is no such user any more. found: there was one.
func PutLine(text []byte, name, line string) (changed []byte, found bool) {
	for old := range bytes.Lines(text) {
		if user, _, ok := bytes.Cut(old, []byte(":$")); !ok || string(user) != name {
			changed = append(changed, old...)
			continue
		}
		if line != "" && !found {
			changed = append(append(changed, line...), '\n')
		}
		found = true
	}
	if line != "" && !found {
		if n := len(changed); n > 0 && changed[n-1] != '\n' {
			changed = append(changed, '\n')
		}
		changed = append(append(changed, line...), '\n')
	}
	if len(bytes.TrimSpace(changed)) == 0 {
		changed = []byte("# no users\n")
	}
	return changed, found
}

// CheckPassword is what NewPassword has against a name or a cost, so that nobody is asked for a password in vain.
func CheckPassword(name string, cost HashCost) error {
	if err := checkText(name); err != nil {
		return err
	}
	if strings.Contains(name, ":$") {
		return errors.New("the name has :$ in it, where its hash would begin")
	}
	return cost.check()
}

// parseAccount reads one line. The name may have colons, but not before a $.
func parseAccount(line string) (account, error) {
	name, rest, ok := strings.Cut(line, ":$")
	if !ok {
		return account{}, errors.New("not of the form " + accountForm)
	}
	if err := checkText(name); err != nil {
		return account{}, err
	}
	fields := strings.Fields("$" + rest)
	h, err := parseHash(fields[0])
	if err != nil {
		return account{}, err
	}
	a := account{name: name, hash: h, mark: markOf(line)}
	if a.tenant, a.clientID, err = parseExtras(fields[1:], "the hash", accountForm); err != nil {
		return account{}, err
	}
	return a, nil
}

// Passwords are the users of a password file. Read-only: safe from any goroutine.
//
// Who is not among them costs as much as one who is: a hash of some user is made for a name that nobody has, the same each time, so that
// the time an answer takes tells nothing.
type Passwords struct {
	byName map[string]int
	list   []account
	secret []byte
	marks  map[Mark]struct{}
}

// ParsePasswords reads a password file; name is the file's, for errors. Empty lines and those that begin with # are skipped. The error has a
// line for each wrong one, up to ten of them. A file with nothing in it is an error, too: it may have been cut off. One with no more than remarks
// says that there are no users.
func ParsePasswords(name string, text []byte) (*Passwords, error) {
	p := &Passwords{byName: map[string]int{}, marks: map[Mark]struct{}{}}
	lineOf := map[string]int{}
	secret := sha256.New()
	err := eachLine(name, text, noneOf(text, "no users in it, and no remark such as # none"), func(number int, line string) error {
		a, err := parseAccount(line)
		if err != nil {
			return err
		}
		if first := lineOf[a.name]; first != 0 {
			return fmt.Errorf("the user has a line already, %d", first)
		}
		lineOf[a.name], p.byName[a.name] = number, len(p.list)
		p.list = append(p.list, a)
		p.marks[a.mark] = struct{}{}
		secret.Write(a.hash.secret())
		return nil
	})
	if err != nil {
		return nil, err
	}
	p.secret = secret.Sum(nil)
	return p, nil
}

// check finds a user. known: there is one of this name; right: and this is the password.
func (p *Passwords) check(name string, password []byte) (a *account, known, right bool) {
	if len(p.list) == 0 {
		return nil, false, false
	}
	mac := hmac.New(sha256.New, p.secret)
	mac.Write([]byte(name))
	i := int(binary.BigEndian.Uint64(mac.Sum(nil)) % uint64(len(p.list)))
	if at, ok := p.byName[name]; ok {
		i, known = at, true
	}
	a = &p.list[i]
	return a, known, a.hash.matches(password) && known
}

// PasswordFile is the provider that knows the users of a password file. Each answer costs a hash, so it is to be asked by few at a time.
type PasswordFile struct{ passwords atomic.Pointer[Passwords] }

// NewPasswordFile answers by these.
func NewPasswordFile(p *Passwords) *PasswordFile {
	f := &PasswordFile{}
	f.Set(p)
	return f
}

// Set has it answer by others from now on, such as when the file has changed. Safe from any goroutine.
func (f *PasswordFile) Set(p *Passwords) { f.passwords.Store(p) }

// Name is part of Provider.
func (f *PasswordFile) Name() string { return "file" }

// Stands is part of Keeper.
func (f *PasswordFile) Stands(m Mark) bool {
	_, ok := f.passwords.Load().marks[m]
	return ok
}

// Authenticate is part of Provider. Who has no line in the file, and who shows no password, is passed on.
func (f *PasswordFile) Authenticate(_ context.Context, r *Request, _ int64) (Answer, error) {
	if !r.HasUsername || !r.HasPassword {
		return Answer{}, nil
	}
	a, known, right := f.passwords.Load().check(r.Username, r.Password)
	switch {
	case !known:
		return Answer{}, nil
	case !right:
		return Answer{Verdict: Deny, Refusal: BadCredentials}, nil
	}
	return Answer{Verdict: Allow, User: a.name, Tenant: a.tenant, ClientID: a.clientID, Standing: Standing{f, a.mark}}, nil
}
