package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"gatehouse/core/cmd/gatehouse/config"
)

// reloadable are the parts of the configuration that take effect while the gate
// runs. All others need a restart.
var reloadable = []string{"policies", "plugins", "plugin_signers", "resources", "limits.plugin"}

// Reloads are what became of attempts to go over to another configuration. The
// zero value is that of a gate that has just started.
type reloads struct {
	one sync.Mutex // attempt at a time

	mu       sync.Mutex
	seen     sight // the files as they were when they were last read
	taken    int
	refused  int
	last     error // why the last attempt was refused, or nil
	restarts int   // settings that changed since the start and need a restart
}

func (r *reloads) note(restarts int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.last = err; err != nil {
		r.refused++
		return
	}
	r.taken++
	r.restarts = restarts
}

// lastErr returns why the gate does not serve by the configuration as its files
// have it.
func (r *reloads) lastErr() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.last == nil && r.restarts == 0 {
		return nil
	}
	if r.last == nil {
		return fmt.Errorf("%s without effect until a restart", count(r.restarts, "changed setting"))
	}
	return errors.New("the last one was refused, and the gate serves by the one before; its log says why")
}

func (r *reloads) statistics(rules *rules) []statistic {
	r.mu.Lock()
	taken, refused, restarts := float64(r.taken), float64(r.refused), float64(r.restarts)
	stale := 0.0
	if r.last != nil {
		stale = 1
	}
	r.mu.Unlock()
	of := func(v float64) func() float64 { return func() float64 { return v } }
	result := func(name string) prometheus.Labels { return prometheus.Labels{"result": name} }
	return []statistic{
		{"reloads_total", "Attempts to go over to a changed configuration.", result("taken"), of(taken)},
		{"reloads_total", "Attempts to go over to a changed configuration.", result("refused"), of(refused)},
		{"configuration_refused", "1 while the configuration is one that was refused.", nil, of(stale)},
		{"configuration_restarts", "Settings that changed since the start and need a restart.", nil, of(restarts)},
		{"policies_loaded", "Versions of the policy with their plugins that are loaded, those that sessions still use included.", nil, of(float64(rules.loaded()))},
		{"policy_info", "The version of the policy in force.", prometheus.Labels{"version": rules.version()}, of(1)},
	}
}

// reload goes over to the configuration as its files have it now. All of it is
// checked, and its plugins loaded, before anything takes effect: after an error
// nothing did. Once it returned, all further requests are judged by the new
// policy.
func (g *gate) reload(ctx context.Context) error {
	g.reloads.one.Lock()
	defer g.reloads.one.Unlock()
	restarts, err := g.tryReload(ctx)
	g.reloads.note(restarts, err)
	if err != nil {
		g.logRefusal(err)
	}
	return err
}

func (g *gate) tryReload(ctx context.Context) (restarts int, err error) {
	// Looked at before it is read, so that no change in between is missed.
	seen := look(g.reloads.files())
	c, err := config.Load(g.parts.config.File())
	if err == nil {
		file := seen[c.File()]
		seen = look(c.Files())
		seen[c.File()] = file
	}
	g.reloads.saw(seen)
	if err != nil {
		return 0, err
	}
	running := g.rules.take()
	defer g.rules.drop(running)
	p, err := rebuild(ctx, c, running, g.log)
	debug.FreeOSMemory() // compiling left much behind
	g.checkRetention(p)
	if err == nil && len(p.problems) > 0 {
		err = p.problems.Sorted()
	}
	if err != nil {
		return 0, errors.Join(err, p.Close())
	}
	// The policy first: what it says of a resource holds before clients get
	// there.
	before := g.rules.version()
	if p.rules != nil {
		g.rules.replace(p.rules)
	}
	changed, err := g.postgres.SetResources(p.resources)
	if err != nil {
		return 0, err // no resource that Validate let pass
	}
	waiting := g.waiting(p)
	g.log.Info("configuration reloaded", "policy", g.rules.version(), "policy_before", before,
		"resources", strings.Join(changed, " "), "restarts", len(waiting))
	for _, w := range waiting {
		g.log.Warn("setting needs a restart", "setting", w.Path, "place", fmt.Sprintf("%s:%d:%d", w.File, w.Line, w.Column))
	}
	return len(waiting), nil
}

// checkRetention reports policies that ask for a retention class which the
// running recorder does not have yet.
func (g *gate) checkRetention(p *parts) {
	running := g.parts.config.Recording.Retention
	for i, policy := range p.config.Policies {
		if running[policy.Retention] == nil && p.config.Recording.Retention[policy.Retention] != nil {
			p.problem(fmt.Errorf("the class %q is new, and there only after a restart", policy.Retention), "policies", fmt.Sprint(i), "retention")
		}
	}
}

// waiting returns the settings of p that differ from those of the start and
// take effect only at the next one. Secrets are told apart by what they hold.
func (g *gate) waiting(p *parts) config.Problems {
	var waiting config.Problems
	add := func(path []string) {
		if !slices.ContainsFunc(reloadable, func(r string) bool {
			name := strings.Join(path, ".")
			return name == r || strings.HasPrefix(name, r+".")
		}) {
			waiting = append(waiting, p.config.Problem(errors.New("needs a restart"), path...))
		}
	}
	for _, path := range g.parts.config.Changes(p.config) {
		add(path)
	}
	for name, secret := range p.secrets {
		// The store's keys are read at each use.
		if old, there := g.parts.secrets[name]; there && !strings.HasPrefix(name, "recording.store.") && string(old) != string(secret) {
			add(strings.Split(name, "."))
		}
	}
	return waiting.Sorted()
}

// logRefusal says everything that is wrong with a configuration.
func (g *gate) logRefusal(err error) {
	problems, ok := errors.AsType[config.Problems](err)
	for _, p := range problems {
		g.log.Error("problem in the configuration", "place", fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column),
			"setting", p.Path, "problem", p.Message)
	}
	why := slog.Int("problems", len(problems))
	if !ok {
		why = slog.Any("error", err)
	}
	g.log.Error("configuration refused: the gate goes on with the one before", why, "policy", g.rules.version())
}

// A sight is how files looked.
type sight map[string]os.FileInfo // nil where there is none

func look(files []string) sight {
	s := make(sight, len(files))
	for _, f := range files {
		s[f], _ = os.Stat(f) // a missing file is one more way to look
	}
	return s
}

// same is whether the files are the same ones, unchanged: editors put another
// file in the place, and Kubernetes points a link elsewhere.
func (s sight) same(t sight) bool {
	for f, a := range s {
		b := t[f]
		if (a == nil) != (b == nil) ||
			a != nil && !(os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())) {
			return false
		}
	}
	return len(s) == len(t)
}

func (r *reloads) saw(s sight) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen = s
}

func (r *reloads) sight() sight {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.seen
}

// files are those to look at.
func (r *reloads) files() []string { return slices.Collect(maps.Keys(r.sight())) }

// watch reloads the configuration when asked to, and when its files changed and
// then stay as they are, until ctx ends.
func (g *gate) watch(ctx context.Context, asked <-chan os.Signal) {
	ticker := time.NewTicker(time.Duration(g.parts.config.Reload.Every))
	defer ticker.Stop()
	var changing sight
	for {
		select {
		case <-ctx.Done():
			return
		case <-asked:
			_ = g.reload(ctx) // it has said what was wrong
		case <-ticker.C:
			switch now := look(g.reloads.files()); {
			case now.same(g.reloads.sight()):
				changing = nil
			case changing != nil && now.same(changing):
				changing = nil
				_ = g.reload(ctx)
			default:
				changing = now
			}
		}
	}
}
