package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"gatehouse/core/event"
	"gatehouse/recorder"
)

// conditions are what readiness depends on.
func (g *gate) conditions() []condition {
	return []condition{
		{name: "listeners", err: func() error {
			if !g.serving.Load() {
				return errors.New("the gate is draining")
			}
			return nil
		}},
		{name: "spool", err: g.spoolReady},
		{name: "store", err: g.storeReady, warns: true}, // sessions go on while the spool lasts
		{name: "identity", err: g.providers.Ready},
		{name: "parser", err: g.analyzer.Err},
		{name: "plugins", err: g.rules.failing, warns: true}, // not every request needs them
		// A gate whose configuration was refused serves by the one before.
		{name: "configuration", err: g.reloads.lastErr, warns: true},
	}
}

// storeReady returns since when, and why, recordings are not stored.
func (g *gate) storeReady() error {
	s := g.recorder.Stats()
	switch {
	case s.Forked:
		return recorder.ErrFork
	case s.Away.IsZero():
		return nil
	}
	return fmt.Errorf("recordings are not stored since %s, %d bytes wait: %w", s.Away.UTC().Format(time.RFC3339), s.Backlog, s.Why)
}

// spoolReady returns why no request could be recorded now.
func (g *gate) spoolReady() error {
	s := g.recorder.Stats()
	if s.Backlog >= s.SpoolLimit {
		return fmt.Errorf("full: %d bytes wait for the store", s.Backlog)
	}
	f, err := os.CreateTemp(string(g.parts.config.Recording.Spool.Directory), "ready-*")
	if err != nil {
		return err
	}
	_, err = f.WriteString("ready\n")
	return errors.Join(err, f.Close(), os.Remove(f.Name()))
}

// statistics are what the packages count now, for /metrics.
func (g *gate) statistics() []statistic {
	return slices.Concat(
		[]statistic{
			{"connections", "Client connections being served.", listener("postgres"), func() float64 { return float64(g.proxy.Active()) }},
			{"connections_total", "Client connections accepted.", listener("postgres"), func() float64 { return float64(g.proxy.Served()) }},
			{"approvals_pending", "Requests that wait for approval.", nil, func() float64 { return float64(g.approvals.Len()) }},
		},
		recorderStatistics(g.recorder.Stats),
		g.pluginStatistics(),
		g.reloads.statistics(g.rules),
		g.serverStatistics(),
		g.refusalStatistics(),
	)
}

func listener(protocol string) prometheus.Labels { return prometheus.Labels{"protocol": protocol} }

func recorderStatistics(stats func() recorder.Stats) []statistic {
	of := func(value func(recorder.Stats) float64) func() float64 {
		return func() float64 { return value(stats()) }
	}
	return []statistic{
		{"recorder_written_bytes_total", "Bytes of frames written to the spool.", nil, of(func(s recorder.Stats) float64 { return float64(s.Bytes) })},
		{"recorder_commits_total", "Writes to the spool.", nil, of(func(s recorder.Stats) float64 { return float64(s.Commits) })},
		{"recorder_sealed_total", "Pieces sealed.", nil, of(func(s recorder.Stats) float64 { return float64(s.Sealed) })},
		{"recorder_stored_total", "Pieces stored.", nil, of(func(s recorder.Stats) float64 { return float64(s.Stored) })},
		{"recorder_failures_total", "Failed attempts to write to the spool, seal, store or log.", step("spool"), of(func(s recorder.Stats) float64 { return float64(s.FailuresBy["spool"]) })},
		{"recorder_failures_total", "Failed attempts to write to the spool, seal, store or log.", step("seal"), of(func(s recorder.Stats) float64 { return float64(s.FailuresBy["seal"]) })},
		{"recorder_failures_total", "Failed attempts to write to the spool, seal, store or log.", step("store"), of(func(s recorder.Stats) float64 { return float64(s.FailuresBy["store"]) })},
		{"recorder_failures_total", "Failed attempts to write to the spool, seal, store or log.", step("log"), of(func(s recorder.Stats) float64 { return float64(s.FailuresBy["log"]) })},
		{"recorder_oldest_seconds", "Since when the oldest of what is not stored waits, in seconds since 1970; 0 if nothing does.", nil, of(func(s recorder.Stats) float64 { return seconds(s.Oldest) })},
		{"recorder_away_seconds", "Since when nothing could be stored, in seconds since 1970; 0 if it can.", nil, of(func(s recorder.Stats) float64 { return seconds(s.Away) })},
		{"recorder_sessions", "Sessions not entirely stored and logged.", nil, of(func(s recorder.Stats) float64 { return float64(s.Sessions) })},
		{"recorder_spool_bytes", "Bytes in the spool.", nil, of(func(s recorder.Stats) float64 { return float64(s.Backlog) })},
		{"recorder_spool_limit_bytes", "Bytes that the spool may hold.", nil, of(func(s recorder.Stats) float64 { return float64(s.SpoolLimit) })},
		{"recorder_log_size", "Entries in the log.", nil, of(func(s recorder.Stats) float64 { return float64(s.LogSize) })},
		{"recorder_checkpoint_seconds", "When the last checkpoint was stored, in seconds since 1970.", nil, of(func(s recorder.Stats) float64 { return seconds(s.Checkpoint) })},
		{"recorder_forked", "1 when the stored log is not the one that the spool continues.", nil, of(func(s recorder.Stats) float64 { return flag(s.Forked) })},
	}
}

// flag is 1 for true.
func flag(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

func step(name string) prometheus.Labels { return prometheus.Labels{"step": name} }

// seconds returns a time in seconds since 1970, 0 for none.
func seconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.Unix())
}

func (g *gate) pluginStatistics() []statistic {
	var all []statistic
	for name, s := range g.rules.stats() {
		labels := prometheus.Labels{"plugin": name}
		of := func(value float64) func() float64 { return func() float64 { return value } }
		all = append(all,
			statistic{"plugin_calls_total", "Calls of plugins, since they were loaded.", labels, of(float64(s.Calls))},
			statistic{"plugin_remembered_total", "Answers of plugins that needed no call.", labels, of(float64(s.Remembered))},
			statistic{"plugin_traps_total", "Calls of plugins that trapped.", labels, of(float64(s.Traps))},
			statistic{"plugin_timeouts_total", "Calls of plugins that took too long.", labels, of(float64(s.Timeouts))},
			statistic{"plugin_malformed_total", "Answers of plugins that were refused.", labels, of(float64(s.Malformed))},
			statistic{"plugin_batches_total", "Batches of values that plugins inspected.", labels, of(float64(s.Batches))},
			statistic{"plugin_cells_total", "Values that plugins inspected.", labels, of(float64(s.Cells))},
			statistic{"plugin_busy_seconds_total", "Time spent in plugins.", labels, of(s.Busy.Seconds())},
			statistic{"plugin_instances", "Instances of plugins.", labels, of(float64(s.Instances))},
			statistic{"plugin_failing", "1 while a plugin keeps failing and all requests that need it are refused.", labels, of(flag(s.Failing != nil))},
			statistic{"plugin_failing_principals", "Principals whose requests are refused because their calls of a plugin keep failing.", labels, of(float64(s.Principals))},
			statistic{"plugin_failing_total", "Times that a plugin was found to keep failing.", labels, of(float64(s.Opened))},
		)
		for action, n := range s.Verdicts {
			all = append(all, statistic{"plugin_verdicts_total", "Verdicts of plugins.",
				prometheus.Labels{"plugin": name, "action": event.Action(action).String()}, of(float64(n))})
		}
	}
	return all
}

func (g *gate) serverStatistics() []statistic {
	var all []statistic
	for _, f := range g.postgres.Failures() {
		all = append(all, statistic{"server_failures_total", "Connections to the servers of resources that could not be opened.",
			prometheus.Labels{"resource": f.Resource, "server": f.Server.String(), "reason": f.Reason},
			func() float64 { return float64(f.Count) }})
	}
	return all
}

// refusalStatistics are what limits kept out.
func (g *gate) refusalStatistics() []statistic {
	all := []statistic{{"cancel_requests_dropped_total", "Cancel requests that were dropped, because their address had sent too many with wrong keys.",
		listener("postgres"), func() float64 { return float64(g.postgres.Dropped()) }}}
	for limit, n := range g.proxy.Refused() {
		all = append(all, statistic{"connections_refused_total", "Connections refused or cut, by the limit that they were over.",
			prometheus.Labels{"protocol": "postgres", "limit": limit}, func() float64 { return float64(n) }})
	}
	return all
}
