//go:build race || gwcheck

package gateway

// crashOnPanic: in check builds a panic ends the process.
const crashOnPanic = true
