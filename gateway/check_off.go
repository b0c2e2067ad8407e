//go:build !race && !gwcheck

package gateway

// crashOnPanic is false in release builds; see containPanic.
const crashOnPanic = false
