// Package auth answers who a device is, without sockets and clocks: the methods of MQTT 5 enhanced authentication (§4.12), and
// the tokens of plain devices.
//
// A [Method] begins an [Exchange] for each attempt. The exchange gets the device's Authentication Data and says what to
// answer, until it knows the user or refuses. All of it runs on a loop, so a step may hash a few times, but not derive a key
// from a password: [SCRAM] works on keys that were derived when the user was made.
package auth
