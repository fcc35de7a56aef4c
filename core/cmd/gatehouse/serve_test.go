package main

import (
	"bufio"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// AsGatehouse makes the test's own program behave as gatehouse; with quickStart
// it parses one statement at a time and so opens sooner.
const (
	asGatehouse = "GATEHOUSE_TEST_AS_PROGRAM"
	quickStart  = "GATEHOUSE_TEST_QUICK_START"
)

func TestMain(m *testing.M) {
	if os.Getenv(quickStart) != "" {
		parserLimits.Instances = 1
	}
	if os.Getenv(asGatehouse) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// SIGHUP makes the program read its configuration again. SIGTERM ends it with
// success, after it drained. Its log is JSON where it is no terminal.
func TestServeObeysSignals(t *testing.T) {
	d := newTargets(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(t.Context(), self, "serve", "--config", d.path("gatehouse.yaml"))
	c.Env = append(os.Environ(), asGatehouse+"=1")
	stderr, err := c.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	var messages []string
	for lines := bufio.NewScanner(stderr); lines.Scan(); {
		var line struct{ Msg string }
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			t.Errorf("%q is no JSON", lines.Text())
			continue
		}
		messages = append(messages, line.Msg)
		if line.Msg == "gate is open" {
			res, err := http.Get("http://127.0.0.1:" + strconv.Itoa(d.ports.admin) + "/healthz")
			if err != nil || res.StatusCode != 200 {
				t.Errorf("/healthz: %v, %v", res, err)
			}
			if err := c.Process.Signal(syscall.SIGHUP); err != nil {
				t.Fatal(err)
			}
		}
		if line.Msg == "configuration reloaded" {
			if err := c.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := c.Wait(); err != nil {
		t.Errorf("%v, want success", err)
	}
	if got := strings.Join(messages, ", "); !strings.Contains(got, "gate is open, configuration reloaded, ") || !strings.Contains(got, "gate is draining") {
		t.Errorf("logged %s", got)
	}
}
