package bus

import "time"

// SetUserStreams names the user's streams.
func SetUserStreams(o *Options, names ...string) { o.Durable = &Durable{Streams: names} }

// SetAskPatience sets how long reads are tried again.
func SetAskPatience(o *Options, d time.Duration) { o.askPatience = d }
