// Package proxy reads the header of the PROXY protocol, versions 1 and 2, from a byte slice: what a load balancer in front says of the
// connection that it passes on. It has no sockets and no clock, and it does not know who may say such things; its owner does.
//
// The format: https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt
package proxy
