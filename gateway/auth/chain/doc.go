// Package chain asks providers who a device is, one after the other, until one of them knows.
//
//	Ask -> throttle -> link: cache -> a question like it under way? -> breaker -> queue -> worker -> Provider
//	                    | pass
//	                    v
//	                   link ...
//
// Nothing here waits on the caller's goroutine. A [Link] is one provider with what protects it and us from each other: a bounded number of workers,
// which are there only while somebody asks, a bounded queue, a deadline, a cache of answers by what was asked, and for a
// provider elsewhere a circuit breaker. So a slow provider is in the way of those only who need it.
//
// No credentials are kept: what is remembered of them is an HMAC with a key of this process.
package chain
