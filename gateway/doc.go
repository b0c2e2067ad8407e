// Package gateway joins the leaves: it lets devices in over epoll, reads them with the codecs, keeps what they are owed in
// sessions, and carries their messages between each other and NATS.
package gateway
