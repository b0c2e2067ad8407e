package bus

import "github.com/nats-io/nats.go"

// streamInfo is what the leader of a stream says of it.
type streamInfo struct {
	first, last uint64
	direct      bool // allows direct gets
}

// infoAsk gathers who wants to know the same stream: all that came before a question is sent share its answer.
type infoAsk struct {
	asking  bool
	waiting []func(streamInfo, error)
}

// info asks the leader of a stream, and nobody else, for its state at a time after the call. Called by the archive's goroutine.
func (a *archive) info(stream string, done func(streamInfo, error)) {
	if a.reads.infos == nil {
		a.reads.infos = make(map[string]*infoAsk)
	}
	i := a.reads.infos[stream]
	if i == nil {
		i = &infoAsk{}
		a.reads.infos[stream] = i
	}
	i.waiting = append(i.waiting, done)
	if !i.asking {
		a.askInfo(stream, i)
	}
}

func (a *archive) askInfo(stream string, i *infoAsk) {
	waiting := i.waiting
	i.waiting, i.asking = nil, true
	tell := func(s streamInfo, err error) {
		i.asking = false
		if len(i.waiting) > 0 {
			a.askInfo(stream, i)
		}
		for _, done := range waiting {
			done(s, err)
		}
	}
	a.ask(&question{
		subject: apiPrefix + "STREAM.INFO." + stream, patience: a.patience,
		answer: func(m *nats.Msg) sequel {
			var r struct {
				Error  *apiError
				Config struct {
					AllowDirect bool `json:"allow_direct"`
				}
				State struct {
					FirstSeq uint64 `json:"first_seq"`
					LastSeq  uint64 `json:"last_seq"`
				}
			}
			v := readAnswer(m, &r, &r.Error)
			switch {
			case v == again:
			case r.Error != nil:
				tell(streamInfo{}, r.Error)
			default:
				if stream == streamLog {
					a.bus.seen.raise(0, r.State.LastSeq)
				}
				tell(streamInfo{first: r.State.FirstSeq, last: r.State.LastSeq, direct: r.Config.AllowDirect}, nil)
			}
			return v
		},
		fail: func(err error) { tell(streamInfo{}, err) },
	})
}
