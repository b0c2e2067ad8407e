package gateway

import "time"

// stage is what is done about too much of something; it only grows at once.
type stage uint8

const (
	stageCalm     stage = iota
	stageRefusing       // nobody new is let in
	stageShedding       // and who is here is sent away
)

// calmTime is how long it has to be better until less is done.
const calmTime = 3 * time.Second

// String is the stage in logs.
func (s stage) String() string { return [...]string{"calm", "refusing", "shedding"}[s] }

// says is what happens in it.
func (s stage) says() string {
	return [...]string{
		"new devices are let in again", "new devices are refused, and told to come again later",
		"new devices are refused, and the newest of those that lose nothing are sent away",
	}[s]
}

// meter is the stage that there is for one value. Owned by one goroutine.
type meter struct {
	stage  stage
	better time.Time // since when a lower stage would do; zero: it would not
}

// take goes by a value: from refuse and from shed on more is done at once; less is done once it has been less for calmTime, and nothing once it has been
// below rest.
func (m *meter) take(value, refuse, shed, rest int64, now time.Time) {
	want := stageCalm
	switch {
	case value >= shed:
		want = stageShedding
	case value >= refuse:
		want = stageRefusing
	case value >= rest:
		want = min(m.stage, stageRefusing)
	}
	switch {
	case want >= m.stage:
		m.stage, m.better = want, time.Time{}
	case m.better.IsZero():
		m.better = now
	case now.Sub(m.better) >= calmTime:
		m.stage, m.better = want, time.Time{}
	}
}
