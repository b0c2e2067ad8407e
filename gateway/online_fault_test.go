//go:build fault

package gateway

import "testing"

// TestPresenceRaceLarge: 1,000 client ids connect to two gateways at the same time, 100 times.
func TestPresenceRaceLarge(t *testing.T) { t.Parallel(); presenceRace(t, 1000, 100) }
