// Command suites runs PostgreSQL drivers' own test suites twice, against a
// server and through the gate in front of it, and fails where the results
// differ in what the file of exceptions does not name and explain:
//
//	go run ./protocols/postgres/clients/suites
//
// Arguments are the packages of the suite to run, all if there are none.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"gatehouse/protocols/postgres/clients/internal/lab"
)

// A suite is the tests of one driver.
type suite struct {
	name       string
	module     string
	exceptions string            // what may differ; see parseExceptions
	sql        string            // that makes its database
	settings   map[string]string // of the server
	env        func(lab.Way) []string
	args       []string // of go test
}

var suites = []suite{pgx}

func main() {
	keep := flag.String("keep", "", "`directory` to write the tests' output to")
	run := flag.String("run", "", "run only tests that match `pattern`, and compare only what ran")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := runAll(ctx, *keep, *run, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "suites:", err)
		os.Exit(1)
	}
}

func runAll(ctx context.Context, keep, run string, packages []string) (err error) {
	dir, err := os.MkdirTemp("", "gatehouse-suites-")
	if err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	for _, s := range suites {
		if e := s.run(ctx, dir, keep, run, packages); e != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", s.name, e))
		}
	}
	return err
}

// run runs a suite both ways and compares. Either way has a database of its
// own on one server.
func (s *suite) run(ctx context.Context, dir, keep, run string, packages []string) (err error) {
	l, err := lab.Start(ctx, lab.Config{Resource: s.name + "_gate", Superuser: true, Settings: s.settings})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	source, err := s.copy(ctx, filepath.Join(dir, s.name))
	if err != nil {
		return err
	}
	var results [2]results
	for i, w := range []lab.Way{l.Direct(s.name + "_direct"), l.Gate(s.name + "_gate")} {
		if err := l.Postgres.CreateDatabase(ctx, w.Database, s.sql); err != nil {
			return err
		}
		began := time.Now()
		if results[i], err = s.test(ctx, source, w, keep, run, packages); err != nil {
			return err
		}
		fmt.Printf("%s %-6s %s in %s\n", s.name, w.Name, results[i], time.Since(began).Round(time.Second))
	}
	exceptions, err := parseExceptions(s.exceptions)
	if err != nil {
		return err
	}
	return compare(results[0], results[1], exceptions, run == "" && len(packages) == 0)
}

// copy copies the module's source, whose directory in the module cache is not
// to be written to.
func (s *suite) copy(ctx context.Context, to string) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", s.module).Output()
	if err != nil {
		return "", fmt.Errorf("find module %s: %w", s.module, err)
	}
	from := string(out[:len(out)-1])
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		return "", fmt.Errorf("copy module %s: %w", s.module, err)
	}
	return to, nil
}

// test runs the suite's tests one way.
func (s *suite) test(ctx context.Context, dir string, w lab.Way, keep, run string, packages []string) (results, error) {
	args := append([]string{"test", "-json", "-count=1", "-vet=off", "-timeout=10m"}, s.args...)
	if run != "" {
		args = append(args, "-run", run)
	}
	if len(packages) == 0 {
		packages = []string{"./..."}
	}
	cmd := exec.CommandContext(ctx, "go", append(args, packages...)...)
	cmd.Dir, cmd.Env = dir, append(append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off"), s.env(w)...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("run the tests: %w", err)
	}
	var from io.Reader = out
	if keep != "" {
		f, err := os.Create(filepath.Join(keep, s.name+"."+w.Name+".json"))
		if err != nil {
			return nil, err
		}
		defer f.Close()
		from = io.TeeReader(out, f)
	}
	r, err := readResults(from)
	// Tests that fail are for compare, which knows which may.
	if werr := cmd.Wait(); err == nil && len(r) == 0 {
		err = fmt.Errorf("no tests ran: %w", werr)
	}
	return r, err
}
