package bus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// What the Bus keeps in JetStream. Nothing here is ever deleted by it, and a setting that costs data or a copy of it is left as it was found.
const (
	streamLog    = "TG_LOG"
	logSubject   = "$TG.log."  // + the topic's subject
	log2Subject  = "$TG.log2." // + client key + the topic's subject
	relSubject   = "$TG.rel."  // + client key
	bucketStream = "KV_"

	bucketSessions = "TG_sessions"
	bucketRetained = "TG_retained"
)

// storeDuplicates is how long the log remembers message ids, so that what goes again because an answer was lost is stored once. NATS may be away for that
// long without a QoS 2 message being doubled. Measured with nats-server 2.15 (BenchmarkDuplicateMemory): an id takes 93 bytes of the server's memory, so
// 20,000 messages a second take 112 MB.
const storeDuplicates = time.Minute

// replicasWished is the number of replicas in a cluster when none is configured: one server may be lost.
const replicasWished = 3

// ownStreams are the streams that the Bus makes: the log first, then the buckets, which look to NATS tools like any other.
func (d *Durable) ownStreams(replicas int) []jetstream.StreamConfig {
	all := []jetstream.StreamConfig{{
		Name: streamLog, Description: "tidegate: messages of devices, and to them",
		Subjects: []string{logSubject + ">", log2Subject + ">", relSubject + "*"},
		MaxMsgs:  -1, MaxConsumers: -1, MaxMsgsPerSubject: -1, MaxMsgSize: -1, MaxBytes: -1,
		MaxAge: d.LogAge, Duplicates: storeDuplicates, Discard: jetstream.DiscardOld, Storage: jetstream.FileStorage,
		Replicas: replicas, AllowDirect: true, AllowMsgTTL: true, AllowBatchPublish: true,
	}}
	log := &all[0]
	if d.LogBytes > 0 {
		log.MaxBytes = d.LogBytes
	}
	if d.LogAge > 0 {
		log.Duplicates = min(log.Duplicates, d.LogAge)
	}
	for _, b := range []struct{ name, what string }{
		{bucketSessions, "tidegate: sessions of devices"},
		{bucketRetained, "tidegate: retained messages"},
	} {
		all = append(all, jetstream.StreamConfig{
			Name: bucketStream + b.name, Description: b.what, Subjects: []string{"$KV." + b.name + ".>"},
			MaxMsgs: -1, MaxConsumers: -1, MaxMsgsPerSubject: 1, MaxMsgSize: -1, MaxBytes: -1,
			Duplicates: 2 * time.Minute, Discard: jetstream.DiscardNew, Storage: jetstream.FileStorage,
			Replicas: replicas, AllowRollup: true, DenyDelete: true, AllowDirect: true, AllowMsgTTL: true,
		})
	}
	return all
}

// isOwnStream tells whether a stream of this name is one that the Bus makes.
func isOwnStream(name string) bool {
	switch name {
	case streamLog, bucketStream + bucketSessions, bucketStream + bucketRetained, presenceStream, presenceBucket, gatewaysStream, bucketStream + bansBucket,
		bucketStream + ticketsBucket:
		return true
	}
	return false
}

// Error codes of JetStream about making streams.
const (
	makeErrNoPeers      = 10005 // fewer servers than replicas
	makeErrNotClustered = 10074
	makeErrNameInUse    = 10058 // with other settings, made by somebody else just now
)

func isMakeErr(err error, codes ...jetstream.ErrorCode) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && slices.Contains(codes, api.ErrorCode)
}

// ensure makes the stream, or brings one that is there to the settings. changed: something was made or set.
func ensure(ctx context.Context, js jetstream.JetStream, want *jetstream.StreamConfig) (have jetstream.StreamConfig, changed bool, err error) {
	s, err := js.Stream(ctx, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		if s, err = js.CreateStream(ctx, *want); err != nil {
			return have, false, fmt.Errorf("bus: make the stream %s: %w", want.Name, err)
		}
		return s.CachedInfo().Config, true, nil
	}
	if err != nil {
		return have, false, fmt.Errorf("bus: ask for the stream %s: %w", want.Name, err)
	}
	have = s.CachedInfo().Config
	if what := unfit(&have); what != "" {
		return have, false, fmt.Errorf("bus: the stream %s %s, and that can't be changed; keep what is in it with `nats stream backup %[1]s DIR`, "+
			"remove it with `nats stream rm %[1]s`, and it is made anew", want.Name, what)
	}
	next := have
	if !adjust(&next, want) {
		return have, false, nil
	}
	if s, err = js.UpdateStream(ctx, next); err != nil {
		return have, false, fmt.Errorf("bus: the stream %s has other settings, and changing them failed: %w; "+
			"`nats stream edit %[1]s` shows them", want.Name, err)
	}
	return s.CachedInfo().Config, true, nil
}

// unfit says what makes a stream useless for us.
func unfit(have *jetstream.StreamConfig) string {
	switch {
	case have.Storage != jetstream.FileStorage:
		return "is kept in memory"
	case have.Retention != jetstream.LimitsPolicy:
		return "forgets messages when consumers have them (its retention is not limits)"
	case have.Sealed:
		return "is sealed"
	case have.Mirror != nil:
		return "is a mirror"
	}
	return ""
}

// adjust brings next to what we want of it, where nothing is lost by that: limits of the log are the operator's word. Replicas only grow.
func adjust(next, want *jetstream.StreamConfig) (changed bool) {
	for _, s := range want.Subjects {
		if !slices.Contains(next.Subjects, s) {
			next.Subjects = append(slices.Clone(next.Subjects), s)
			changed = true
		}
	}
	on := func(have *bool, want bool) {
		if want && !*have {
			*have, changed = true, true
		}
	}
	on(&next.AllowDirect, want.AllowDirect)
	on(&next.AllowMsgTTL, want.AllowMsgTTL)
	on(&next.AllowBatchPublish, want.AllowBatchPublish)
	on(&next.AllowRollup, want.AllowRollup)
	if next.NoAck {
		next.NoAck, changed = false, true
	}
	if want.Name == streamLog && (next.MaxAge != want.MaxAge || next.MaxBytes != want.MaxBytes || next.Duplicates != want.Duplicates) {
		next.MaxAge, next.MaxBytes, next.Duplicates, changed = want.MaxAge, want.MaxBytes, want.Duplicates, true
	}
	if next.Replicas < want.Replicas {
		next.Replicas, changed = want.Replicas, true
	}
	return changed
}

// checkUsers looks at a stream that a route names.
func checkUsers(ctx context.Context, js jetstream.JetStream, name string) (have jetstream.StreamConfig, err error) {
	s, err := js.Stream(ctx, name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return have, fmt.Errorf("bus: %w: %s, which a route names; make it, for instance with `nats stream add %[2]s`, or change the route", err, name)
	}
	if err != nil {
		return have, fmt.Errorf("bus: ask for the stream %s, which a route names: %w", name, err)
	}
	have = s.CachedInfo().Config
	what := ""
	switch {
	case have.Sealed:
		what = "is sealed"
	case have.Mirror != nil:
		what = "is a mirror"
	case have.NoAck:
		what = "does not acknowledge (no_ack)"
	case len(have.Subjects) == 0:
		what = "takes no subjects"
	}
	if what != "" {
		return have, fmt.Errorf("bus: the stream %s, which a route names, %s: nothing can be stored there; choose another stream", name, what)
	}
	return have, nil
}

// matchesSubject tells whether a pattern of a stream takes a subject.
func matchesSubject(pattern, subject string) bool {
	for {
		p, restP, moreP := strings.Cut(pattern, ".")
		if p == ">" {
			return true
		}
		s, restS, moreS := strings.Cut(subject, ".")
		if (p != "*" && p != s) || moreP != moreS {
			return false
		}
		if !moreP {
			return true
		}
		pattern, subject = restP, restS
	}
}
