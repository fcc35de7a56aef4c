package host

import (
	"syscall"
	"testing"
	"time"
)

// ProcessorTime is what this process has taken so far, which does not depend on
// what else the machine does.
func ProcessorTime(t testing.TB) time.Duration {
	t.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		t.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
