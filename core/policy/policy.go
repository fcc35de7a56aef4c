// Package policy decides which principal may reach which resource, through
// which plugins and under whose approval. Policies are data; nothing is
// allowed that no policy names.
package policy

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"gatehouse/core/event"
	"gatehouse/core/protect"
)

// A Config is what a Policy is made of.
type Config struct {
	// Rules are tried in order: the first that names one of the
	// principal's groups and the target decides.
	Rules []Rule
	// Resources are the databases of each resource that there is; "*" is
	// any.
	Resources map[string][]string
	// Protected are the protected columns of each resource that has some.
	Protected map[string]*protect.Columns
	// Plugins identifies what each plugin that there is does: a digest of
	// its module and its configuration. It is part of the version.
	Plugins map[string]string
}

// A Rule lets groups reach targets.
type Rule struct {
	Name   string
	Groups []string // one of them suffices
	// Targets are "resource", for all of its databases, or
	// "resource/database".
	Targets []string
	Access
}

// A Quota is what a principal may get within an hour. Zero fields are no limit.
type Quota struct {
	Rows, Bytes int64
	// Columns is what it may do with each protected column.
	Columns ColumnQuota
}

// A ColumnQuota is what a principal may do with a column within an hour.
type ColumnQuota struct {
	// Rows and Bytes are those in which something of it is shown.
	Rows, Bytes int64
	Predicates  int64 // conditions on it
	// Over is what becomes of a request beyond: Block or Hold.
	Over event.Action
}

// Access is how a principal reaches a resource.
type Access struct {
	Plugins   []string      // in the order in which they judge
	Approvers []string      // groups that may decide what is held; none means nobody
	HoldFor   time.Duration // how long a held request waits
	// Quota is what a principal may get within an hour.
	Quota Quota
	// OutlastToken is whether a session goes on after the proof of its
	// principal's identity has expired.
	OutlastToken bool
	// Stay is whether a session that is open keeps to the policy that it began
	// under when another comes into force.
	Stay bool
	// Retention is the retention class of what is recorded.
	Retention string
	// Clear are patterns of protected columns that the principal may see.
	Clear []string
	// Lifters are the groups that may lift what is tracked of the resource; none
	// means the approvers.
	Lifters []string

	// Protected are the protected columns that remain, and AllProtected those
	// of the resource. Decide sets them.
	Protected, AllProtected *protect.Columns
	// Rule is the name of the rule that gave it. Decide sets it.
	Rule string
}

// A Policy decides. It does not change and is safe for concurrent use.
type Policy struct {
	rules     []Rule
	protected map[string]*protect.Columns
	version   string
}

// New returns the policy of c, or all that is wrong with it.
func New(c Config) (*Policy, error) {
	var wrong []error
	for i := range c.Rules {
		if err := c.Rules[i].check(&c); err != nil {
			wrong = append(wrong, fmt.Errorf("rule %q: %w", c.Rules[i].Name, err))
		}
	}
	if err := errors.Join(wrong...); err != nil {
		return nil, err
	}
	p := &Policy{protected: maps.Clone(c.Protected), version: c.version()}
	for _, r := range c.Rules {
		r.Groups, r.Targets = slices.Clone(r.Groups), slices.Clone(r.Targets)
		r.Plugins, r.Approvers = slices.Clone(r.Plugins), slices.Clone(r.Approvers)
		r.Clear, r.Lifters = slices.Clone(r.Clear), slices.Clone(r.Lifters)
		p.rules = append(p.rules, r)
	}
	return p, nil
}

func (r *Rule) check(c *Config) error {
	var wrong []error
	problem := func(format string, args ...any) { wrong = append(wrong, fmt.Errorf(format, args...)) }
	if len(r.Groups) == 0 || slices.Contains(r.Groups, "") {
		problem("groups %q: at least one, none of them empty", r.Groups)
	}
	if len(r.Targets) == 0 {
		problem("no targets")
	}
	for _, t := range r.Targets {
		resource, database, one := strings.Cut(t, "/")
		databases, known := c.Resources[resource]
		if !known {
			problem("target %q: no such resource", t)
		} else if one && !slices.Contains(databases, database) && !slices.Contains(databases, "*") {
			problem("target %q: no such database", t)
		}
	}
	for _, name := range r.Plugins {
		if _, known := c.Plugins[name]; !known {
			problem("plugin %q: no such plugin", name)
		}
	}
	if r.Quota.Rows < 0 || r.Quota.Bytes < 0 {
		problem("quota of %d rows and %d bytes", r.Quota.Rows, r.Quota.Bytes)
	}
	if c := r.Quota.Columns; c.Rows < 0 || c.Bytes < 0 || c.Predicates < 0 || c.Over != event.Block && c.Over != event.Hold {
		problem("quota of %d rows, %d bytes and %d predicates of columns, then %s", c.Rows, c.Bytes, c.Predicates, c.Over)
	}
	for _, pattern := range r.Clear {
		if err := protect.CheckPattern(pattern); err != nil {
			problem("clear: %w", err)
		}
	}
	if r.HoldFor <= 0 {
		problem("hold of %s", r.HoldFor)
	}
	return errors.Join(wrong...)
}

// Decide returns how a principal reaches a database of a resource. The error
// is a *Denied where it does not.
func (p *Policy) Decide(who event.Principal, resource, database string) (Access, error) {
	for _, r := range p.rules {
		if r.names(who.Groups) && r.targets(resource, database) {
			a := r.Access
			a.Rule, a.AllProtected = r.Name, p.protected[resource]
			a.Protected = a.AllProtected.Without(r.Clear)
			return a, nil
		}
	}
	return Access{}, &Denied{Principal: who, Resource: resource, Database: database}
}

// Lifter returns the rule by which who may lift what is tracked of a database of a
// resource, and whether there is one.
func (p *Policy) Lifter(who event.Principal, resource, database string) (Access, bool) {
	for _, r := range p.rules {
		if r.targets(resource, database) && slices.ContainsFunc(r.lifters(), func(g string) bool { return g != "" && slices.Contains(who.Groups, g) }) {
			a := r.Access
			a.Rule, a.AllProtected = r.Name, p.protected[resource]
			return a, true
		}
	}
	return Access{}, false
}

func (r *Rule) lifters() []string {
	if len(r.Lifters) == 0 {
		return r.Approvers
	}
	return r.Lifters
}

// Lifters returns every group that may lift what is tracked of some resource.
func (p *Policy) Lifters() []string {
	var all []string
	for _, r := range p.rules {
		all = append(all, r.lifters()...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// Tracks is whether what is stored of protected columns of some resource is tracked.
func (p *Policy) Tracks() bool {
	for _, columns := range p.protected {
		if columns.Uses().Writes == protect.Tracked {
			return true
		}
	}
	return false
}

// Approvers returns every group that may decide what some rule holds.
func (p *Policy) Approvers() []string {
	var all []string
	for _, r := range p.rules {
		all = append(all, r.Approvers...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func (r *Rule) names(groups []string) bool {
	return slices.ContainsFunc(groups, func(g string) bool { return g != "" && slices.Contains(r.Groups, g) })
}

func (r *Rule) targets(resource, database string) bool {
	return slices.Contains(r.Targets, resource) || slices.Contains(r.Targets, resource+"/"+database)
}

// Version identifies all that decides: it changes whenever a rule, or a
// plugin's module or configuration does. It is 32 hexadecimal digits.
func (p *Policy) Version() string { return p.version }

// version digests c. Every string is preceded by its length and every list by
// its number, so that no two configurations read the same.
func (c *Config) version() string {
	var b []byte
	text := func(s string) { b = append(binary.AppendUvarint(b, uint64(len(s))), s...) }
	list := func(ss []string) {
		b = binary.AppendUvarint(b, uint64(len(ss)))
		for _, s := range ss {
			text(s)
		}
	}
	for _, r := range c.Rules {
		text(r.Name)
		list(r.Groups)
		list(r.Targets)
		list(r.Plugins)
		list(r.Approvers)
		b = binary.AppendVarint(b, int64(r.HoldFor))
		b = fmt.Appendf(b, "%t %t %v ", r.OutlastToken, r.Stay, r.Quota)
		text(r.Retention)
		list(r.Clear)
		list(r.Lifters)
	}
	b = append(b, 0)
	for _, name := range slices.Sorted(maps.Keys(c.Resources)) {
		text(name)
		list(c.Resources[name])
		text(c.Protected[name].Identity())
	}
	b = append(b, 0)
	for _, name := range slices.Sorted(maps.Keys(c.Plugins)) {
		text(name)
		text(c.Plugins[name])
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16])
}

// Denied says that no policy lets a principal reach a target.
type Denied struct {
	Principal event.Principal
	Resource  string
	Database  string
}

// Error is for the log.
func (d *Denied) Error() string {
	return fmt.Sprintf("no policy lets %q of groups %q reach %q, database %q",
		d.Principal.Name, d.Principal.Groups, d.Resource, d.Database)
}

// Reason is for the client. It does not tell whether the resource exists.
func (d *Denied) Reason() string {
	return fmt.Sprintf("no policy lets you reach %q", d.Resource)
}
