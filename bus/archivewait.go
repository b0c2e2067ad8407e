package bus

import "github.com/nats-io/nats.go"

// Questions of goroutines that can wait.

// waitInfo asks the leader of a stream for its state.
func (a *archive) waitInfo(stream string) (streamInfo, error) {
	var info streamInfo
	err := a.wait(func(done func(error)) {
		a.info(stream, func(s streamInfo, err error) {
			info = s
			done(err)
		})
	})
	return info, err
}

// waitAPI asks JetStream's API for something whose answer tells only whether it was done.
func (a *archive) waitAPI(subject string, payload []byte) error {
	return a.wait(func(done func(error)) {
		a.ask(&question{
			subject: subject, payload: payload, patience: a.patience, fail: done,
			answer: func(m *nats.Msg) sequel {
				var r struct{ Error *apiError }
				v := readAnswer(m, &r, &r.Error)
				switch {
				case v == again:
				case r.Error != nil:
					done(r.Error)
				default:
					done(nil)
				}
				return v
			},
		})
	})
}

// wait runs f on the archive's goroutine and waits until it is done. The archive ends no question without an answer, so it waits askPatience or a little more, and less at
// the end of the Bus.
func (a *archive) wait(f func(done func(error))) error {
	said := make(chan error, 1)
	if !a.order(func() { f(func(err error) { said <- err }) }) {
		return ErrClosed
	}
	return <-said
}

// forget asks JetStream's API to remove something that would go away by itself later.
func (a *archive) forget(subject string) {
	a.order(func() {
		a.ask(&question{
			subject: subject, patience: a.patience, answer: func(*nats.Msg) sequel { return finished }, fail: func(error) {},
		})
	})
}
