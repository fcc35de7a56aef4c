package host_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// Memories as other systems have them do what those of Linux do, and the package
// builds for such systems.
func TestPortableMemory(t *testing.T) {
	tests := exec.CommandContext(t.Context(), "go", "test", "-tags=portable", "-count=1", "-v",
		"-run=^(TestSessionsAreApart|TestSizesAndTablesAreApart|TestTrapBesideOtherSession|TestHostileGuests|TestMemoryThatGrowsInEachCall|TestLoadRefuses)$", ".")
	said, err := tests.CombinedOutput()
	if err != nil || strings.Count(string(said), "\n--- PASS") != 6 {
		t.Errorf("%v\n%s", err, said)
	}
	for _, system := range []string{"darwin", "windows"} {
		build := exec.CommandContext(t.Context(), "go", "build", ".")
		build.Env = append(os.Environ(), "GOOS="+system, "CGO_ENABLED=0")
		if said, err := build.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", system, err, said)
		}
	}
}
