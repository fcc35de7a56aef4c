package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"gatehouse/core/cmd/gatehouse/config"
	"gatehouse/core/event"
	"gatehouse/recorder"
)

const (
	// crashRuns is how often the gate is killed, unless the environment
	// variable GATEHOUSE_CRASH_RUNS says otherwise: go tool task crash kills
	// it more often.
	crashRuns = 5
	// crashClients are at work each time.
	crashClients = 6
)

// A crash kills a gate under load, again and again.
type crash struct {
	*demo
	program string
	token   string

	mu       sync.Mutex
	received map[string]bool // rows, each of which is unique
	runs     int
}

// TestCrash kills the program with SIGKILL at random points while clients use a
// real server through it, and starts it again on the same spool and store. In
// the end no statement that the server executed, by its own log, and no row
// that a client received is missing from the recordings, and these verify.
func TestCrash(t *testing.T) {
	program := buildProgram(t)
	runs, gates := runsWanted(t), 1
	if runs >= 4*crashRuns {
		gates = 2 // a gate that starts keeps one processor busy
	}
	for i := range gates {
		t.Run(fmt.Sprintf("gate %d", i+1), func(t *testing.T) {
			t.Parallel()
			c := newCrash(t, program)
			for c.runs < (runs+gates-1)/gates {
				c.runs++
				c.runAndKill(t)
			}
			c.settle(t)
			c.compare(t)
		})
	}
}

func runsWanted(t *testing.T) int {
	t.Helper()
	text := os.Getenv("GATEHOUSE_CRASH_RUNS")
	if text == "" {
		return crashRuns
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("GATEHOUSE_CRASH_RUNS is %q, want a number", text)
	}
	return n
}

// buildProgram builds the program as this test's own, which can start quickly,
// but without the race detector.
func buildProgram(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "gatehouse")
	build := exec.Command("go", "test", "-c", "-o", program, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return program
}

func newCrash(t *testing.T, program string) *crash {
	t.Helper()
	c := &crash{demo: newTargets(t), program: program, received: make(map[string]bool)}
	if err := c.postgres.Exec(t.Context(), "shop", "CREATE TABLE marks (mark text); GRANT ALL ON marks TO gatehouse"); err != nil {
		t.Fatal(err)
	}
	var err error
	if c.token, err = c.issuer.Mint(c.agent().Claims()); err != nil {
		t.Fatal(err)
	}
	return c
}

// start starts the gate and returns it with a channel that is closed once it
// is open, or has ended.
func (c *crash) start(t *testing.T) (gate *exec.Cmd, open chan struct{}) {
	t.Helper()
	gate = exec.Command(c.program, "serve", "--config", c.path("gatehouse.yaml"))
	gate.Env = append(os.Environ(), asGatehouse+"=1", quickStart+"=1")
	stderr, err := gate.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	log, err := os.OpenFile(c.path("gatehouse.log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if err := gate.Start(); err != nil {
		t.Fatal(err)
	}
	open = make(chan struct{})
	go func() { // ends with the program
		defer log.Close()
		isOpen := false
		for lines := bufio.NewScanner(io.TeeReader(stderr, log)); lines.Scan(); {
			var line struct{ Msg string }
			if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "gate is open" && !isOpen {
				isOpen = true
				close(open)
			}
		}
		if !isOpen {
			close(open)
		}
	}()
	return gate, open
}

// runAndKill kills one gate: now and then while it starts, and so recovers what
// the one before left, else while clients are at work.
func (c *crash) runAndKill(t *testing.T) {
	t.Helper()
	gate, open := c.start(t)
	kill := func() {
		if err := gate.Process.Kill(); err != nil {
			t.Errorf("run %d: the gate ended by itself: %v", c.runs, err)
		}
	}
	if rand.IntN(5) == 0 {
		killed := time.AfterFunc(time.Duration(rand.Int64N(int64(time.Second))), kill)
		<-open
		if killed.Stop() {
			kill() // it was open before its time came
		}
		_ = gate.Wait() // it was killed
		return
	}
	<-open
	var clients sync.WaitGroup
	// The number of answers at which it is killed, by any of the clients.
	left := make(chan struct{}, 1+rand.IntN(200))
	for range cap(left) {
		left <- struct{}{}
	}
	var once sync.Once
	answered := func() {
		select {
		case <-left:
		default:
			once.Do(kill)
		}
	}
	for i := range crashClients {
		clients.Go(func() { c.use(t, i, answered) })
	}
	clients.Wait()
	once.Do(kill) // it refused all of them
	_ = gate.Wait()
}

// use works with the gate until that is killed. Each statement, and each row of
// its result, is unique.
func (c *crash) use(t *testing.T, client int, answered func()) {
	ctx := t.Context()
	conf, err := pgx.ParseConfig(fmt.Sprintf("host=localhost port=%d dbname=shop user=agent sslmode=verify-full sslrootcert='%s'", c.ports.gate, c.path("ca.crt")))
	if err != nil {
		t.Error(err)
		return
	}
	conf.Password = c.token
	conf.DefaultQueryExecMode = []pgx.QueryExecMode{pgx.QueryExecModeSimpleProtocol, pgx.QueryExecModeDescribeExec, pgx.QueryExecModeExec}[client%3]
	conn, err := pgx.ConnectConfig(ctx, conf)
	if err != nil {
		return // it was killed
	}
	defer conn.Close(ctx)
	for n := 0; ; n++ {
		tag := fmt.Sprintf("mark_%d_%d_%d_", c.runs, client, n)
		rows := 1 + rand.IntN(50)
		sql := fmt.Sprintf("SELECT '%s' || n FROM generate_series(1, %d) n", tag, rows)
		if n%3 == 1 {
			sql = fmt.Sprintf("INSERT INTO marks SELECT '%s' || n FROM generate_series(1, %d) n RETURNING mark", tag, rows)
		}
		var batch pgx.Batch
		batch.Queue(sql)
		for i := 1; n%3 == 2 && i < 4; i++ {
			batch.Queue(fmt.Sprintf("SELECT '%sb%d_' || n FROM generate_series(1, %d) n", tag, i, rows))
		}
		if conf.DefaultQueryExecMode == pgx.QueryExecModeSimpleProtocol {
			err = c.read(conn.Query(ctx, sql))
		} else {
			results := conn.SendBatch(ctx, &batch)
			for range batch.Len() {
				if err == nil {
					err = c.read(results.Query())
				}
			}
			_ = results.Close() // its error is that of the query
		}
		if err != nil {
			return // it was killed
		}
		answered()
	}
}

// read notes every row as it comes.
func (c *crash) read(rows pgx.Rows, err error) error {
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		row := string(rows.RawValues()[0])
		c.mu.Lock()
		c.received[row] = true
		c.mu.Unlock()
	}
	return rows.Err()
}

// settle starts the gate once more, waits until all is stored, and ends it.
func (c *crash) settle(t *testing.T) {
	t.Helper()
	gate, open := c.start(t)
	<-open
	for {
		res, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/metrics", c.ports.admin))
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(b, []byte("\ngatehouse_recorder_sessions 0\n")) {
			break
		}
		if bytes.Contains(b, []byte("\ngatehouse_recorder_forked 1\n")) {
			t.Fatal("the log has forked")
		}
		time.Sleep(50 * time.Millisecond) // polls another process
	}
	if err := gate.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := gate.Wait(); err != nil {
		t.Fatal(err)
	}
}

// compare compares the recordings with what the server and the clients know.
func (c *crash) compare(t *testing.T) {
	t.Helper()
	code, out, stderr := gatehouse(t, "verify", "--frames", "--config", c.path("gatehouse.yaml"))
	if code != exitOK || strings.Contains(out, "goes on") || strings.Contains(out, "not in the log") {
		t.Errorf("verify: code %d\n%s%s", code, out, stderr)
	}
	requests, rows := c.recorded(t)
	executed, err := c.postgres.Statements("shop")
	if err != nil {
		t.Fatal(err)
	}
	ran, lost := 0, 0
	for _, sql := range executed {
		if !strings.Contains(sql, "'mark_") || strings.HasPrefix(sql, "EXPLAIN (FORMAT JSON) ") {
			continue // the gate's own: it asks for estimates
		}
		ran++
		if !requests[sql] {
			if lost++; lost <= 10 {
				t.Errorf("executed and not recorded: %s", sql)
			}
		}
	}
	for row := range c.received {
		if !rows[row] {
			if lost++; lost <= 10 {
				t.Errorf("received and not recorded: %s", row)
			}
		}
	}
	t.Logf("killed %d times: %d statements executed, %d rows received, %d of them not recorded; %s", c.runs, ran, len(c.received), lost, strings.TrimSpace(out))
	if lost > 0 {
		t.Errorf("%d in all", lost)
	}
	if ran < c.runs || len(c.received) < c.runs {
		t.Errorf("only %d statements and %d rows: this shows nothing", ran, len(c.received))
	}
}

// recorded are the texts of all requests and the first values of all rows.
func (c *crash) recorded(t *testing.T) (requests, rows map[string]bool) {
	t.Helper()
	conf, err := config.Load(c.path("gatehouse.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	p := &parts{config: conf, log: slog.New(slog.DiscardHandler)}
	p.openStore()
	defer p.Close()
	reader := recorder.NewReader(p.store)
	requests, rows = make(map[string]bool), make(map[string]bool)
	for q := (recorder.Query{Limit: recorder.MaxListLimit}); ; {
		page, err := reader.List(context.WithoutCancel(t.Context()), q)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range page {
			for e, err := range recorder.Transcript(reader.Frames(t.Context(), s.ID), decoders) {
				if err != nil {
					t.Fatalf("session %s: %v", s.ID, err)
				}
				switch {
				case e.Kind == event.KindRequest:
					requests[string(e.Request.Payload)] = true
				case e.Part != nil && len(e.Part.Row) > 0:
					rows[string(e.Part.Row[0])] = true
				}
			}
		}
		if len(page) < q.Limit {
			return requests, rows
		}
		q.Before = page[len(page)-1].Key()
	}
}
