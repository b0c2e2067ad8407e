package bus

import (
	"context"
	"time"
)

// bucketConfig is what we ask of a bucket; names are JetStream's.
type bucketConfig struct {
	Name        string        `json:"name"`
	Description string        `json:"description,omitempty"`
	Subjects    []string      `json:"subjects"`
	Retention   string        `json:"retention"`
	MaxMsgs     int64         `json:"max_msgs"`
	MaxBytes    int64         `json:"max_bytes"`
	PerSubject  int64         `json:"max_msgs_per_subject"`
	Consumers   int           `json:"max_consumers"`
	MaxSize     int           `json:"max_msg_size"`
	Discard     string        `json:"discard"`
	Storage     string        `json:"storage"`
	Replicas    int           `json:"num_replicas"`
	DenyDelete  bool          `json:"deny_delete"`
	Rollup      bool          `json:"allow_rollup_hdrs"`
	Direct      bool          `json:"allow_direct"`
	TTL         bool          `json:"allow_msg_ttl"`
	MarkerTTL   time.Duration `json:"subject_delete_marker_ttl,omitempty"`
	Age         time.Duration `json:"max_age,omitempty"`
	Republish   *republish    `json:"republish,omitempty"`
	Sources     []source      `json:"sources,omitempty"`
}

type republish struct {
	Source string `json:"src"`
	Dest   string `json:"dest"`
}

type source struct {
	Name       string      `json:"name"`
	Transforms []republish `json:"subject_transforms"`
}

// presenceLogAge is how long changes stay in the stream, for those who read it as a log, and at least as long as an old one may be repeated.
const presenceLogAge = 24 * time.Hour

// leaseMarkerTime is how long watchers of TG_gateways can see that a lease ended.
const leaseMarkerTime = time.Minute

func newBucket(stream, prefix, description string, replicas int) *bucketConfig {
	return &bucketConfig{
		Name: stream, Description: description, Subjects: []string{prefix + ">"}, Retention: "limits", MaxMsgs: -1, MaxBytes: -1,
		PerSubject: 1, Consumers: -1, MaxSize: -1, Discard: "new", Storage: "file", Replicas: replicas,
		DenyDelete: true, Rollup: true, Direct: true, TTL: true,
	}
}

// JetStream's numbers of errors that say that it is not there for us.
const (
	codeNotEnabled        = 10076
	codeNotEnabledAccount = 10039
	codeNoStream          = 10059
)

// ensureBuckets makes the stream and the buckets of presence unless they are there. What an operator has set otherwise stays, but for what
// presence needs.
func (s *store) ensureBuckets(ctx context.Context, replicas int, o *PresenceOptions) error {
	log := newBucket(presenceStream, presenceState, "connects and disconnects of clients", replicas)
	log.Subjects, log.PerSubject, log.Discard, log.Rollup = []string{presenceState + "*.*"}, -1, "old", false
	if log.Age = presenceLogAge; o.Keep > 0 {
		log.Age = min(log.Age, o.Keep) // an end that went before its beginning would leave that as the last word
	}
	if !o.Quiet {
		log.Republish = &republish{presenceState + "*.*", presenceEvents + "{{wildcard(1)}}.{{wildcard(2)}}"}
	}
	presence := newBucket(presenceBucket, presencePrefix, "who is connected, by client id", replicas)
	presence.Sources = []source{{presenceStream, []republish{{presenceState + "*.*", presencePrefix + "{{wildcard(2)}}"}}}}
	gateways := newBucket(gatewaysStream, gatewaysPrefix, "gateways and their leases", replicas)
	gateways.MarkerTTL = leaseMarkerTime
	for _, want := range []*bucketConfig{log, presence, gateways} {
		if err := s.ensureBucket(ctx, want); err != nil {
			return err
		}
	}
	return nil
}

func (s *store) ensureBucket(ctx context.Context, want *bucketConfig) error {
	var info struct {
		Config map[string]any `json:"config"`
	}
	code, err := s.api(ctx, "STREAM.INFO."+want.Name, nil, &info)
	switch {
	case code == codeNotEnabled || code == codeNotEnabledAccount:
		return errNoStorage
	case code == codeNoStream:
		code, err = s.api(ctx, "STREAM.CREATE."+want.Name, want, nil)
		if code != 0 && want.Replicas > 1 { // fewer servers than that
			want.Replicas = 1
			_, err = s.api(ctx, "STREAM.CREATE."+want.Name, want, nil)
		}
		return err
	case err != nil:
		return err
	}
	if !want.amend(info.Config) {
		return nil
	}
	_, err = s.api(ctx, "STREAM.UPDATE."+want.Name, info.Config, nil)
	return err
}

// amend changes what there is to what is needed; false: it is so already.
func (want *bucketConfig) amend(have map[string]any) (changed bool) {
	set := func(name string, value any) { have[name], changed = value, true }
	if have["allow_msg_ttl"] != true {
		set("allow_msg_ttl", true)
	}
	if want.MarkerTTL > 0 && have["subject_delete_marker_ttl"] == nil {
		set("subject_delete_marker_ttl", want.MarkerTTL)
	}
	if want.Name == presenceStream && (have["republish"] != nil) != (want.Republish != nil) {
		set("republish", want.Republish)
	}
	if want.Sources != nil && have["sources"] == nil {
		set("sources", want.Sources)
	}
	return changed
}

// bucketState is how much is in a bucket.
func (s *store) bucketState(ctx context.Context, stream string) (last, values uint64, err error) {
	var info struct {
		State struct {
			Last     uint64 `json:"last_seq"`
			Messages uint64 `json:"messages"`
		} `json:"state"`
	}
	_, err = s.api(ctx, "STREAM.INFO."+stream, nil, &info)
	return info.State.Last, info.State.Messages, err
}
