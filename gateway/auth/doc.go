// Package auth answers who a device is: the methods of MQTT 5 enhanced authentication (§4.12), without sockets and clocks.
//
// A [Method] begins an [Exchange] for each attempt. The exchange gets the device's Authentication Data and says what to
// answer, until it knows the user or refuses. All of it runs on a loop, so a step may hash a few times, but not derive a key
// from a password: [SCRAM] works on keys that were derived when the user was made.
package auth
