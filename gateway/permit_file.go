package gateway

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidegate/tidegate/gateway/auth"
	"github.com/tidegate/tidegate/gateway/auth/acl"
)

// ACL says what devices may do.
type ACL struct {
	File    string `yaml:"file" doc:"file of rules, which is read again when it changes; empty for none"`
	Default string `yaml:"default" doc:"what no rule decides: allow or deny"`
}

// What acl.default may be.
const (
	aclAllow = "allow"
	aclDeny  = "deny"
)

// aclFileBytesMax is the longest file of rules that is read.
const aclFileBytesMax = 16 << 20

// rulesTime is how often acl.file is looked at.
const rulesTime = time.Second

// ruleFile is acl.file as it was read last. Safe from any goroutine.
type ruleFile struct {
	mu             sync.Mutex // held while it is read
	seen           fileState  // as it was read
	last           fileState  // as it was looked at last
	policy         atomic.Pointer[acl.Policy]
	taken, refused atomic.Uint64
}

// fileState tells one content of a file from another, as far as that can be told without reading it.
type fileState struct {
	modified time.Time
	size     int64
}

func stateOf(name string) (fileState, error) {
	info, err := os.Stat(name)
	if err != nil {
		return fileState{}, err
	}
	return fileState{info.ModTime(), info.Size()}, nil
}

// inForce are the rules; nil: there is no file.
func (x *ruleFile) inForce() *acl.Policy { return x.policy.Load() }

// readRules reads and compiles a file of rules. The error is for a person: one line for each problem, with its place.
func readRules(name string) (*acl.Policy, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, aclFileBytesMax+1))
	switch {
	case err != nil:
		return nil, err
	case len(text) > aclFileBytesMax:
		return nil, fmt.Errorf("%s is longer than %d bytes; fewer rules with ${clientid} or wildcards say the same", name, aclFileBytesMax)
	}
	rules, err := acl.Parse(name, text)
	if err != nil {
		return nil, err
	}
	return acl.Compile(rules)
}

// openRules reads acl.file for the first time.
func (g *Gateway) openRules() error {
	name := g.cfg.ACL.File
	if name == "" {
		return nil
	}
	seen, err := stateOf(name)
	if err != nil {
		return fmt.Errorf("acl.file: %w", err)
	}
	rules, err := readRules(name)
	if err != nil {
		return fmt.Errorf("acl.file: %w", err)
	}
	g.rules.seen, g.rules.last = seen, seen
	g.rules.policy.Store(rules)
	return nil
}

// restricts tells whether there may be anything that a device may not do.
func (g *Gateway) restricts() bool {
	for i := range g.bounds {
		if g.bounds[i].ACLDefault != aclAllow {
			return true
		}
	}
	return g.cfg.ACL.File != "" || g.doors.chained || g.tokens != nil
}

// watchRules reads acl.file again when it has changed.
func (g *Gateway) watchRules(ctx context.Context) {
	if g.cfg.ACL.File == "" {
		return
	}
	tick := time.NewTicker(rulesTime)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			g.reloadRules(false)
		}
	}
}

// reloadRules puts the rules of acl.file into force, in any case or if it has changed and come to rest: half of a file that is being written may be rules
// that let in more. One that can't be read leaves those before in force: without any, or
// with half of them, devices would get more, or nothing.
func (g *Gateway) reloadRules(inAnyCase bool) {
	x, name := &g.rules, g.cfg.ACL.File
	if name == "" {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	now, err := stateOf(name) // none if it is missing
	rests := now == x.last
	if x.last = now; !inAnyCase && (now == x.seen || !rests) {
		return
	}
	x.seen = now
	var rules *acl.Policy
	if err == nil {
		rules, err = readRules(name)
	}
	if err != nil {
		x.refused.Add(1)
		g.log.Error().Strs("problems", strings.Split(err.Error(), "\n")).Str("file", name).Msg("the rules of acl.file cannot be used; those before stay in force")
		return
	}
	x.taken.Add(1)
	x.policy.Store(rules)
	for _, s := range g.shards {
		s.doSoon(func(s *shard) { s.takeRules(rules) })
	}
	g.log.Info().Int("rules", rules.Rules()).Str("file", name).Msg("new rules are in force")
}

// compileRules makes the rules of one device ready, nil for none.
func compileRules(rules []acl.Rule) (*acl.Policy, error) {
	if len(rules) == 0 {
		return nil, nil
	}
	return acl.Compile(rules)
}

// withRules makes the rules of an answer ready, not on a loop as a rule. With rules that can't be used, the answer is as good as none.
func (g *Gateway) withRules(q *inquiry, a auth.Answer) auth.Answer {
	rules, err := compileRules(a.Rules)
	if err != nil {
		g.log.Debug().Err(err).Str("client", q.clientID).Msg("the rules that came with an answer about a device cannot be used")
		return auth.Answer{Verdict: auth.Deny, Refusal: auth.Unavailable}
	}
	q.rules = rules
	return a
}

// validateACL is part of Validate.
func (c *Config) validateACL(v *validator) {
	if c.ACL.File == "" {
		return
	}
	if _, err := readRules(c.ACL.File); err != nil {
		for problem := range strings.SplitSeq(err.Error(), "\n") {
			v.add("acl.file", problem, "docs/permissions.md says what a rule has")
		}
	}
}
