package epoll

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestWidenDescriptors: the table is as wide as was asked, and no descriptor stays open.
func TestWidenDescriptors(t *testing.T) {
	t.Parallel()
	var limit unix.Rlimit
	if err := unix.Prlimit(0, unix.RLIMIT_NOFILE, nil, &limit); err != nil {
		t.Fatal(err)
	}
	many := min(2*tableWidth(t), int(limit.Cur)) // other tests may have had many open
	if err := WidenDescriptors(many); err != nil {
		t.Fatal(err)
	}
	if got := tableWidth(t); got < many {
		t.Errorf("%d wide, wanted %d", got, many)
	}
	if _, err := os.Lstat("/proc/self/fd/" + strconv.Itoa(many-1)); err == nil {
		t.Errorf("descriptor %d is open", many-1)
	}
	if err := WidenDescriptors(1 << 30); err == nil {
		t.Error("no error beyond RLIMIT_NOFILE")
	}
}

// tableWidth is FDSize of /proc/self/status.
func tableWidth(t *testing.T) int {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "FDSize:")
	n, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return n
}
