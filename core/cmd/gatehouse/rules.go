package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"gatehouse/console"
	"gatehouse/core/event"
	"gatehouse/core/pipeline"
	"gatehouse/core/policy"
	"gatehouse/core/protect"
	"gatehouse/plugins/host"
	"gatehouse/protocols/postgres"
)

// A ruleset is a policy with the plugins that it names, loaded.
type ruleset struct {
	policy  *policy.Policy
	plugins map[string]*loaded
	shadow  map[string]bool // which of them run in shadow

	inForce context.Context // ends when another took its place
	retire  context.CancelFunc
	holders int // guarded by the mutex of its rules
}

func newRuleset(p *policy.Policy) *ruleset {
	s := &ruleset{policy: p, plugins: make(map[string]*loaded), shadow: make(map[string]bool)}
	s.inForce, s.retire = context.WithCancel(context.Background())
	return s
}

func (s *ruleset) close() error {
	s.retire()
	var errs []error
	for _, p := range s.plugins {
		errs = append(errs, p.drop())
	}
	return errors.Join(errs...)
}

// A loaded plugin is shared by the rulesets in which it is the same. The last
// one to drop it closes it.
type loaded struct {
	*host.Plugin
	identity string // of what it does
	host     *host.Host
	rulesets atomic.Int32
}

func (p *loaded) drop() error {
	if p.rulesets.Add(-1) > 0 {
		return nil
	}
	return p.host.Close(context.Background())
}

// open tells the plugins of these names of a session and returns them as they
// take part in it, in their order.
func (s *ruleset) open(ctx context.Context, names []string, of *event.Session) ([]pipeline.Plugin, error) {
	chain := make([]pipeline.Plugin, len(names))
	for i, name := range names {
		p := s.plugins[name]
		if p == nil {
			return nil, fmt.Errorf("plugin %q is not loaded", name)
		}
		opened, err := p.Open(ctx, of)
		switch {
		case err == nil && s.shadow[name]:
			chain[i] = pipeline.Shadow(opened)
		case err == nil:
			chain[i] = opened
		case s.shadow[name]:
			chain[i] = pipeline.Shadow(p.Pipeline()) // it has said what was wrong
		default:
			return nil, err
		}
	}
	return chain, nil
}

// inForceFor returns what a session's record says of the plugins of these names:
// which modules they are.
func (s *ruleset) inForceFor(names []string) (attrs []event.Attr) {
	for _, name := range names {
		p := s.plugins[name]
		if p == nil {
			continue
		}
		value := fmt.Sprintf("%s sha256:%x", name, p.Digest())
		if s.shadow[name] {
			value += " in shadow"
		}
		attrs = append(attrs, event.Attr{Key: pipeline.AttrPlugin, Value: value})
	}
	return attrs
}

// Rules are the ruleset in force, and those before it that sessions still use.
// Whoever takes a ruleset drops it again; the last one to do so closes it.
type rules struct {
	log *slog.Logger

	mu      sync.Mutex
	current *ruleset
	open    int // rulesets that are not closed
}

// newRules returns rules that own s.
func newRules(s *ruleset, log *slog.Logger) *rules {
	s.holders = 1
	return &rules{log: log, current: s, open: 1}
}

// take returns the ruleset in force, which stays open until it is dropped.
func (r *rules) take() *ruleset {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.current.holders++
	return r.current
}

// drop gives back what take returned.
func (r *rules) drop(s *ruleset) {
	r.mu.Lock()
	s.holders--
	last := s.holders == 0
	r.mu.Unlock()
	if !last {
		return
	}
	if err := s.close(); err != nil {
		r.log.Error("plugins were not closed", "policy", s.policy.Version(), "error", err)
	}
	r.mu.Lock()
	r.open--
	r.mu.Unlock()
	r.log.Debug("plugins closed", "policy", s.policy.Version())
}

// replace puts s, which it owns from then on, in force. Whoever takes a ruleset
// after it returned gets s.
func (r *rules) replace(s *ruleset) {
	r.mu.Lock()
	old := r.current
	s.holders = 1
	r.current = s
	r.open++
	r.mu.Unlock()
	old.retire()
	r.drop(old)
}

// version is that of the policy in force.
func (r *rules) version() string {
	return r.policy().Version()
}

// policy returns the policy in force.
func (r *rules) policy() *policy.Policy {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.current.policy
}

// approvers are the groups that may decide requests by the policy in force.
func (r *rules) approvers() []string {
	return r.policy().Approvers()
}

// protected returns what the policy in force protects from by of the resource of
// s, or why by does not reach it.
func (r *rules) protected(by event.Principal, s *event.Session) (*protect.Columns, error) {
	access, err := r.policy().Decide(by, s.Resource, attribute(s.Attrs, "db.namespace"))
	return access.Protected, err
}

// stats are what the plugins in force counted.
func (r *rules) stats() map[string]host.Stats {
	s := r.take()
	defer r.drop(s)
	stats := make(map[string]host.Stats)
	for name, p := range s.plugins {
		stats[name] = p.Stats()
	}
	return stats
}

// failingPlugins are those that keep failing, for the console.
func (r *rules) failingPlugins() (all []console.Failing) {
	stats := r.stats()
	for _, name := range slices.Sorted(maps.Keys(stats)) {
		if s := stats[name]; s.Failing != nil {
			all = append(all, console.NewFailing(name, s.Since, s.Failing))
		}
	}
	return all
}

// failing names the plugins that keep failing, and says why.
func (r *rules) failing() error {
	var errs []error
	stats := r.stats()
	for _, name := range slices.Sorted(maps.Keys(stats)) {
		if why := stats[name].Failing; why != nil {
			errs = append(errs, fmt.Errorf("plugin %s keeps failing, its requests are refused: %w", name, why))
		}
	}
	return errors.Join(errs...)
}

// loaded is how many rulesets are loaded: more than one while sessions finish
// what they began under an older one.
func (r *rules) loaded() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.open
}

// Close drops the ruleset in force. It is the last one where every session has
// ended.
func (r *rules) Close() { r.drop(r.current) }

// addRules makes the policy and loads its plugins. What is as in running, which
// may be nil, is not made again: neither the whole, nor a plugin.
func (p *parts) addRules(ctx context.Context, running *ruleset) error {
	modules := p.readModules()
	made := p.decidePolicy(modules)
	if made != nil && running != nil && made.Version() == running.policy.Version() {
		return nil
	}
	p.rules = newRuleset(made)
	for name, c := range p.config.Plugins {
		p.rules.shadow[name] = c.Shadow
	}
	for _, name := range slices.Sorted(maps.Keys(modules)) {
		identity := p.identity(name, modules[name])
		if running != nil && running.plugins[name] != nil && running.plugins[name].identity == identity {
			p.rules.plugins[name] = running.plugins[name]
			p.rules.plugins[name].rulesets.Add(1)
			continue
		}
		h, err := p.newHost(ctx, p.config.Plugins[name].Grants)
		if err != nil {
			return err
		}
		plugin, err := h.Load(ctx, name, modules[name], p.config.Plugins[name].Config)
		p.unloaded(err, name)
		if err != nil {
			if err := h.Close(ctx); err != nil {
				return err
			}
			continue
		}
		p.rules.plugins[name] = &loaded{Plugin: plugin, identity: identity, host: h}
		p.rules.plugins[name].rulesets.Store(1)
	}
	return nil
}

// identity says what a plugin does, and what it may take to do it.
func (p *parts) identity(name string, module []byte) string {
	c := p.config.Plugins[name]
	return fmt.Sprintf("%x %x %v %v", sha256.Sum256(module), sha256.Sum256(c.Config), c.Grants, p.config.Limits.Plugin)
}

// unloaded reports why a plugin could not be loaded, what is wrong in its
// configuration where it is.
func (p *parts) unloaded(err error, name string) {
	wrong, is := errors.AsType[host.ConfigErrors](err)
	if !is {
		p.problem(err, "plugins", name)
		return
	}
	for _, e := range wrong {
		p.problem(errors.New(e.Message), append([]string{"plugins", name, "config"}, e.Path...)...)
	}
}

func (p *parts) newHost(ctx context.Context, grants []string) (*host.Host, error) {
	limits := p.config.Limits.Plugin
	cache, err := compileCache()
	if err != nil {
		p.log.Warn("compiled plugins are not cached", "error", err)
	}
	return host.New(ctx, host.Options{
		CacheDir: cache, MemoryLimit: int64(limits.Memory),
		Fuel: limits.Instructions, StartFuel: limits.Start, StackLimit: int64(limits.Stack), Timeout: time.Duration(limits.Time),
		Module: int(limits.Module), Body: int(limits.Function),
		Instances: limits.Instances, Failures: limits.Failures, Pause: time.Duration(limits.Pause), Log: p.log,
		Clock: slices.Contains(grants, "clock"), Random: slices.Contains(grants, "random"),
	})
}

// compileCache returns the directory for compiled plugins, the user's own, or
// "" with the reason why there is none.
func compileCache() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir = filepath.Join(dir, "gatehouse", "plugins")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	return dir, nil
}

// decidePolicy makes the policy, whose version covers what plugins do, and what
// they may take to do it.
func (p *parts) decidePolicy(modules map[string][]byte) *policy.Policy {
	c := policy.Config{
		Resources: make(map[string][]string), Plugins: make(map[string]string),
		Protected: make(map[string]*protect.Columns),
	}
	for name, r := range p.config.Resources {
		c.Resources[name] = append([]string{r.Database}, r.Databases...)
		if r.Protect != nil {
			config := r.Protect.Protected()
			config.Implied = postgres.ProtectedCatalog()
			columns, err := protect.New(config)
			p.problem(err, "resources", name, "protect")
			c.Protected[name] = columns
		}
	}
	for name := range p.config.Plugins {
		c.Plugins[name] = fmt.Sprintf("%s %t", p.identity(name, modules[name]), p.config.Plugins[name].Shadow)
	}
	for _, r := range p.config.Policies {
		var limit policy.Quota
		if r.Quota != nil {
			limit = policy.Quota{Rows: r.Quota.Rows, Bytes: int64(r.Quota.Bytes)}
			if c := r.Quota.Columns; c != nil {
				limit.Columns = policy.ColumnQuota{Rows: c.Rows, Bytes: int64(c.Bytes), Predicates: c.Predicates}
				if c.Over == "hold" {
					limit.Columns.Over = event.Hold
				}
			}
		}
		c.Rules = append(c.Rules, policy.Rule{
			Name: r.Name, Groups: r.Groups, Targets: r.Resources,
			Access: policy.Access{
				Plugins: r.Plugins, Approvers: r.Approvers,
				HoldFor: time.Duration(r.Hold), OutlastToken: r.OutlastToken, Stay: r.Open == "stay", Retention: r.Retention, Quota: limit,
				Clear: r.Clear, Lifters: r.Lifters,
			},
		})
	}
	made, err := policy.New(c)
	p.problem(err, "policies")
	return made
}
