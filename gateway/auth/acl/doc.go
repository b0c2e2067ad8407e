// Package acl answers what a device may publish and subscribe to: rules, compiled into a trie of topic levels.
package acl
