package auth

import (
	"crypto/pbkdf2"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
)

// Bounds of a hash. They hold what one login may cost, whatever a file says: at most 64 MiB, and about a second of a core.
const (
	argonKiBMin      = 8
	argonKiBMax      = 64 << 10
	argonPassesMax   = 16
	argonThreadsMax  = 4
	bcryptCostMin    = 4
	bcryptCostMax    = 14
	bcryptBytes      = 60
	roundsMax        = 2_000_000 // of PBKDF2
	hashBytesMin     = 16
	hashBytesMax     = 64
	hashLineBytesMax = 512
)

// HashCost is what argon2id takes for one password.
type HashCost struct {
	KiB    uint32 // of memory
	Passes uint32 // over it
}

// DefaultHashCost is 19 MiB and about 25 ms of a core: what guessing costs is bought with what a storm of devices costs, and more would keep a small
// machine from its messages. BenchmarkHash measures it.
var DefaultHashCost = HashCost{KiB: 19 << 10, Passes: 2}

// hash is how a password is kept.
type hash interface {
	// matches tells whether it is of this password. It takes as long for a wrong one as for the right one.
	matches(password []byte) bool
	// secret is what must not be known, for other secrets to be made of.
	secret() []byte
}

// errHash tells what a hash looks like. Errors never show the one that there is.
var errHash = errors.New("no hash of a kind that is known: $argon2id$v=19$m=..,t=..,p=..$SALT$HASH, $2b$COST$.., or $7$ROUNDS$SALT$HASH of Mosquitto; gateway passwd FILE NAME writes a line")

// parseHash reads a hash. Which kind it is, it says itself.
func parseHash(text string) (hash, error) {
	fields := strings.Split(text, "$")
	if len(text) > hashLineBytesMax || len(fields) < 3 || fields[0] != "" {
		return nil, errHash
	}
	switch fields[1] {
	case "argon2id":
		return parseArgon(fields[2:])
	case "2a", "2b", "2y":
		return parseBcrypt(text)
	case "7":
		return parseRounds(fields[2:])
	case "6":
		return nil, errors.New("$6$ is one round of SHA-512, which is guessed too fast: have a newer mosquitto_passwd or gateway passwd FILE NAME make another line")
	}
	return nil, errHash
}

type argonHash struct {
	HashCost
	threads   uint8
	salt, sum []byte
}

func (h *argonHash) matches(password []byte) bool {
	sum := argon2.IDKey(password, h.salt, h.Passes, h.KiB, h.threads, uint32(len(h.sum)))
	return subtle.ConstantTimeCompare(sum, h.sum) == 1
}

func (h *argonHash) secret() []byte { return h.sum }

// String is the hash as others write it, too.
func (h *argonHash) String() string {
	b64 := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, h.KiB, h.Passes, h.threads, b64(h.salt), b64(h.sum))
}

func parseArgon(fields []string) (hash, error) {
	if len(fields) != 4 || fields[0] != "v=19" {
		return nil, errors.New("not of the form $argon2id$v=19$m=..,t=..,p=..$SALT$HASH")
	}
	var numbers [3]uint64
	settings := strings.Split(fields[1], ",")
	if len(settings) != len(numbers) {
		return nil, errors.New("argon2id needs m, t and p, in this order")
	}
	for i, setting := range settings {
		value, ok := strings.CutPrefix(setting, [3]string{"m=", "t=", "p="}[i])
		n, err := strconv.ParseUint(value, 10, 32)
		if !ok || err != nil {
			return nil, errors.New("argon2id needs m, t and p, in this order, each a number")
		}
		numbers[i] = n
	}
	cost := HashCost{uint32(numbers[0]), uint32(numbers[1])}
	if err := cost.check(); err != nil {
		return nil, err
	}
	if p := numbers[2]; p < 1 || p > argonThreadsMax || numbers[0] < argonKiBMin*p {
		return nil, fmt.Errorf("argon2id with p=%d: it is between 1 and %d, and has %d KiB for each", p, argonThreadsMax, argonKiBMin)
	}
	salt, sum, err := decodeHash(fields[2], fields[3], base64.RawStdEncoding)
	return &argonHash{cost, uint8(numbers[2]), salt, sum}, err
}

// check holds a cost to its bounds.
func (c HashCost) check() error {
	switch {
	case c.KiB < argonKiBMin || c.KiB > argonKiBMax:
		return fmt.Errorf("argon2id with %d KiB: it is between %d and %d, as every login needs that much", c.KiB, argonKiBMin, argonKiBMax)
	case c.Passes < 1 || c.Passes > argonPassesMax:
		return fmt.Errorf("argon2id with %d passes: it is between 1 and %d", c.Passes, argonPassesMax)
	}
	return nil
}

type bcryptHash []byte

// matches looks at 72 bytes of the password at most, as bcrypt does.
func (h bcryptHash) matches(password []byte) bool {
	return bcrypt.CompareHashAndPassword(h, password) == nil
}

func (h bcryptHash) secret() []byte { return h }

func parseBcrypt(text string) (hash, error) {
	const alphabet = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	cost, err := bcrypt.Cost([]byte(text))
	if err != nil || len(text) != bcryptBytes || text[6] != '$' || strings.Trim(text[7:], alphabet) != "" {
		return nil, errors.New("not of the form $2b$COST$.. with 53 characters at the end")
	}
	if cost < bcryptCostMin || cost > bcryptCostMax {
		return nil, fmt.Errorf("bcrypt with cost %d: it is between %d and %d, as every login takes that long", cost, bcryptCostMin, bcryptCostMax)
	}
	return bcryptHash(text), nil
}

// roundsHash is PBKDF2 with SHA-512, as mosquitto_passwd made it before it knew argon2.
type roundsHash struct {
	rounds    int
	salt, sum []byte
}

func (h *roundsHash) matches(password []byte) bool {
	sum, err := pbkdf2.Key(sha512.New, string(password), h.salt, h.rounds, len(h.sum))
	return err == nil && subtle.ConstantTimeCompare(sum, h.sum) == 1
}

func (h *roundsHash) secret() []byte { return h.sum }

func parseRounds(fields []string) (hash, error) {
	if len(fields) != 3 {
		return nil, errors.New("not of the form $7$ROUNDS$SALT$HASH")
	}
	rounds, err := strconv.Atoi(fields[0])
	if err != nil || rounds < 1 || rounds > roundsMax {
		return nil, fmt.Errorf("the rounds of $7$ are a number between 1 and %d", roundsMax)
	}
	salt, sum, err := decodeHash(fields[1], fields[2], base64.StdEncoding)
	return &roundsHash{rounds, salt, sum}, err
}

// decodeHash reads what all of them end with.
func decodeHash(saltText, sumText string, enc *base64.Encoding) (salt, sum []byte, err error) {
	if salt, err = enc.Strict().DecodeString(saltText); err != nil {
		return nil, nil, errors.New("the salt is not base64")
	}
	if sum, err = enc.Strict().DecodeString(sumText); err != nil {
		return nil, nil, errors.New("the hash is not base64")
	}
	if n := len(salt); n < saltBytesMin || n > saltBytesMax {
		return nil, nil, fmt.Errorf("a salt of %d bytes is not between %d and %d", n, saltBytesMin, saltBytesMax)
	}
	if n := len(sum); n < hashBytesMin || n > hashBytesMax {
		return nil, nil, fmt.Errorf("a hash of %d bytes is not between %d and %d", n, hashBytesMin, hashBytesMax)
	}
	return salt, sum, nil
}
