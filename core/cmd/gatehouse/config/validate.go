package config

import (
	"maps"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"gatehouse/core/event"
	"gatehouse/core/protect"
)

// validate reports what the schema cannot say.
func (c *Config) validate(r report) {
	c.Listen.Postgres.validate(r.in("listen", "postgres"))
	c.Console.validate(r.in("console"), c.Identity.Providers)
	address(r.in("admin", "address"), c.Admin.Address)
	c.Identity.validate(r.in("identity", "providers"))
	for _, name := range slices.Sorted(maps.Keys(c.Resources)) {
		c.Resources[name].validate(r.in("resources", name), name)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Plugins)) {
		c.Plugins[name].validate(r.in("plugins", name), len(c.PluginSigners) > 0)
	}
	names := make(map[string]bool)
	for i, p := range c.Policies {
		p.validate(r.in("policies").item(i), c)
		if !c.Recording.hasClass(p.Retention) {
			r.in("policies").item(i).in("retention").problem("%q is none of the classes of recording.retention", p.Retention)
		}
		if names[p.Name] {
			r.in("policies").item(i).in("name").problem("%q is the name of an earlier policy", p.Name)
		}
		names[p.Name] = true
	}
	c.Recording.validate(r.in("recording"))
	c.Limits.validate(r.in("limits"))
	positive(r.in("reload", "every"), c.Reload.Every)
}

func (p *Postgres) validate(r report) {
	address(r.in("address"), p.Address)
	if p.TLS != nil {
		return
	}
	if p.Plaintext != "loopback" {
		r.problem("tls is missing; give a certificate, or set plaintext: loopback for a listener that only this host reaches")
		return
	}
	if !Loopback(p.Address) {
		r.in("address").problem("%q is not a loopback address; plaintext needs one, others need tls", p.Address)
	}
}

func (c *Console) validate(r report, providers []*Provider) {
	address(r.in("address"), c.Address)
	if c.TLS == nil && !Loopback(c.Address) {
		r.in("address").problem("%q is not a loopback address; give the console a tls certificate", c.Address)
	}
	u := webURL(r.in("url"), c.URL)
	if u != nil && (u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "") {
		r.in("url").problem("%q has more than scheme, host and port", c.URL)
	}
	for _, p := range providers {
		if c.Issuer == "" || p.Issuer == c.Issuer {
			if c.Issuer == "" && len(providers) > 1 {
				break
			}
			return
		}
	}
	if c.Issuer == "" {
		r.problem("issuer is missing; it is needed where identity.providers has more than one")
		return
	}
	r.in("issuer").problem("%q is none of identity.providers", c.Issuer)
}

func (id *Identity) validate(r report) {
	issuers := make(map[string]bool)
	for i, p := range id.Providers {
		r := r.item(i)
		webURL(r.in("issuer"), p.Issuer)
		if issuers[p.Issuer] {
			r.in("issuer").problem("%q is there twice", p.Issuer)
		}
		issuers[p.Issuer] = true
		atMost(r.in("skew"), p.Skew, 10*time.Minute)
		positive(r.in("keys", "interval"), p.Keys.Interval)
		positive(r.in("keys", "refresh"), p.Keys.Refresh)
		positive(r.in("keys", "stale"), p.Keys.Stale)
	}
}

func (s *Resource) validate(r report, name string) {
	if strings.Contains(name, "/") {
		r.problem("a resource's name has no slash: clients write RESOURCE/DATABASE")
	}
	if s.SSLMode == "disable" && s.SSLRootCert != "" {
		r.in("sslrootcert").problem("has no use with sslmode: disable")
	}
	unique(r.in("databases"), s.Databases)
	for i, f := range s.Fallbacks {
		if _, _, ok := splitFallback(f); !ok {
			r.in("fallbacks").item(i).problem("%q is no server; write it as HOST or HOST:PORT", f)
		}
	}
	unique(r.in("fallbacks"), s.Fallbacks)
	positive(r.in("connect_timeout"), s.ConnectTimeout)
	if s.Protect != nil {
		s.Protect.validate(r.in("protect"))
		if s.Protect.Writes == "tracked" && len(s.Fallbacks) > 0 {
			r.in("protect", "writes").problem("tracked has no use with fallbacks: servers need not number their tables alike")
		}
	}
	if s.SSLMode == "disable" && s.ChannelBinding == "require" {
		r.in("channel_binding").problem("require has no use with sslmode: disable: there is no certificate to bind to")
	}
}

func (p *Protect) validate(r report) {
	for _, pattern := range slices.Sorted(maps.Keys(p.Columns)) {
		if err := protect.CheckPattern(pattern); err != nil {
			r.in("columns", pattern).problem("%s", err)
		}
	}
	switch {
	case p.Mode == "detect" && len(p.Columns) > 0:
		r.in("columns").problem("has no use with mode: detect")
	case p.Mode != "detect" && len(p.Columns) == 0:
		r.problem("columns is missing; mode %s needs it", p.Mode)
	}
}

// permissions are those that are not the usual ones.
var permissions = map[string]protect.Permission{"allowed": protect.Allowed, "held": protect.Held, "refused": protect.Refused}

// Protected is what p protects.
func (p *Protect) Protected() protect.Config {
	mode, _ := protect.ParseMode(p.Mode) // the schema lets no other pass
	c := protect.Config{Mode: mode, Columns: make(map[string]event.Treatment), Uses: protect.Uses{
		Predicates: permissions[p.Predicates], Matches: permissions[p.Matches], Counts: p.Counts, Sums: p.Sums,
	}}
	switch p.Writes { // refused is the usual
	case "held":
		c.Uses.Writes = protect.Held
	case "tracked":
		c.Uses.Writes = protect.Tracked
	}
	for pattern, t := range p.Columns {
		c.Columns[pattern] = event.Treatment(t)
	}
	return c
}

// A Server is one of a resource's servers.
type Server struct {
	Host string
	Port uint16
}

// Servers are the resource's fallbacks, taken apart.
func (s *Resource) Servers() []Server {
	var all []Server
	for _, f := range s.Fallbacks {
		host, port, _ := splitFallback(f)
		all = append(all, Server{host, port})
	}
	return all
}

// splitFallback takes HOST or HOST:PORT apart. An address of IP version 6 with a
// port is written in brackets.
func splitFallback(f string) (host string, port uint16, ok bool) {
	if _, err := netip.ParseAddr(f); err == nil || !strings.Contains(f, ":") {
		return f, 5432, f != ""
	}
	host, text, err := net.SplitHostPort(f)
	n, perr := strconv.ParseUint(text, 10, 16)
	return host, uint16(n), err == nil && perr == nil && host != "" && n > 0
}

// offers is whether clients may ask for a database.
func (s *Resource) offers(database string) bool {
	return database == s.Database || slices.Contains(s.Databases, database) || slices.Contains(s.Databases, "*")
}

func (p *Plugin) validate(r report, signed bool) {
	switch {
	case p.Builtin == "" && p.Module == "":
		r.problem("builtin or module is missing")
	case p.Builtin != "" && p.Module != "":
		r.problem("builtin and module exclude each other")
	case p.Module != "" && p.SHA256 == "":
		r.problem("sha256 is missing; it says which module this is: sha256sum %s", p.Module)
	case p.Builtin != "" && p.SHA256 != "":
		r.in("sha256").problem("has no use with builtin")
	case p.Signature != "" && (p.Builtin != "" || !signed):
		r.in("signature").problem("has no use without a module and plugin_signers")
	}
	unique(r.in("grants"), p.Grants)
}

func (p *Policy) validate(r report, c *Config) {
	for i, name := range p.Resources {
		r := r.in("resources").item(i)
		resource, database, one := strings.Cut(name, "/")
		s := c.Resources[resource]
		switch {
		case s == nil:
			r.problem("%q is none of the resources", resource)
		case one && !s.offers(database):
			r.problem("%q is none of the databases of %q", database, resource)
		}
	}
	for i, name := range p.Plugins {
		if c.Plugins[name] == nil {
			r.in("plugins").item(i).problem("%q is none of the plugins", name)
		}
	}
	unique(r.in("groups"), p.Groups)
	unique(r.in("resources"), p.Resources)
	unique(r.in("plugins"), p.Plugins)
	unique(r.in("approvers"), p.Approvers)
	unique(r.in("lifters"), p.Lifters)
	unique(r.in("clear"), p.Clear)
	for i, pattern := range p.Clear {
		if err := protect.CheckPattern(pattern); err != nil {
			r.in("clear").item(i).problem("%s", err)
		}
	}
	positive(r.in("hold"), p.Hold)
	atMost(r.in("hold"), p.Hold, 24*time.Hour)
}

func (c *Recording) validate(r report) {
	positive(r.in("spool", "wait"), c.Spool.Wait)
	positive(r.in("seal", "age"), c.Seal.Age)
	if c.Seal.Size > 64<<20 {
		r.in("seal", "size").problem("must be at most 64MiB")
	}
	if c.Seal.Size > c.Spool.Size {
		r.in("seal", "size").problem("is more than the spool's size")
	}
	switch s := c.Store; {
	case s.Directory == "" && s.S3 == nil:
		r.in("store").problem("directory or s3 is missing")
	case s.Directory != "" && s.S3 != nil:
		r.in("store").problem("directory and s3 exclude each other")
	case s.S3 != nil:
		webURL(r.in("store", "s3", "endpoint"), s.S3.Endpoint)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Retention)) {
		c.Retention[name].validate(r.in("retention", name), name, c.Store.S3 != nil)
	}
}

func (k *Retention) validate(r report, name string, bucket bool) {
	switch {
	case len(name) > 64:
		r.problem("a class's name has at most 64 bytes")
	case k.Mode == "none" && k.Days > 0:
		r.in("days").problem("has no use with mode: none; the other modes keep recordings that long")
	case k.Mode != "none" && k.Days == 0:
		r.problem("days is missing; mode %s needs it", k.Mode)
	case k.Mode != "none" && !bucket:
		r.in("mode").problem("%s needs a bucket: a directory locks nothing", k.Mode)
	}
}

// hasClass is whether policies can use a class.
func (c *Recording) hasClass(name string) bool {
	return c.Retention[name] != nil || len(c.Retention) == 0 && name == "standard"
}

func (l *Limits) validate(r report) {
	positive(r.in("startup"), l.Startup)
	positive(r.in("unread"), l.Unread)
	positive(r.in("unsent"), l.Unsent)
	positive(r.in("untaken"), l.Untaken)
	positive(r.in("idle"), l.Idle)
	positive(r.in("plugin", "time"), l.Plugin.Time)
	positive(r.in("plugin", "pause"), l.Plugin.Pause)
	if *l.BusyPoll > Duration(time.Millisecond) {
		r.in("busy_poll").problem("must be at most 1ms")
	}
	if l.Message < 64<<10 || l.Message > 1<<30 {
		r.in("message").problem("must be between 64KiB and 1GiB")
	}
	if l.Text < 64<<10 || l.Text > 16<<20 {
		r.in("text").problem("must be between 64KiB and 16MiB")
	}
	if l.Parameters < 1<<10 || l.Parameters > 16<<20 {
		r.in("parameters").problem("must be between 1KiB and 16MiB")
	}
	if l.Buffer < 64<<10 || l.Buffer > 64<<20 {
		r.in("buffer").problem("must be between 64KiB and 64MiB")
	}
	if l.Inspect < l.Buffer || l.Inspect > 64<<20 {
		r.in("inspect").problem("must be between buffer and 64MiB")
	}
	if l.Plugin.Memory < 64<<10 || l.Plugin.Memory > 2<<30 {
		r.in("plugin", "memory").problem("must be between 64KiB and 2GiB")
	}
	if l.Plugin.Stack < 64<<10 || l.Plugin.Stack > 16<<20 {
		r.in("plugin", "stack").problem("must be between 64KiB and 16MiB")
	}
	if l.Plugin.Module > 64<<20 {
		r.in("plugin", "module").problem("must be at most 64MiB")
	}
	if l.Plugin.Function > 1<<20 {
		r.in("plugin", "function").problem("must be at most 1MiB")
	}
}

// Loopback is whether an address of the form host:port can be reached from
// this host alone.
func Loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

func address(r report, addr string) {
	_, port, err := net.SplitHostPort(addr)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		r.problem("%q is no address; write it as host:port", addr)
	}
}

// webURL reports anything but https, or http to this host.
func webURL(r report, text string) *url.URL {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		r.problem("%q is no URL; write it as https://host", text)
		return nil
	}
	if u.Scheme == "http" && !Loopback(net.JoinHostPort(u.Hostname(), "0")) {
		r.problem("%q is not https, which only a loopback address may be", text)
	}
	return u
}

func positive(r report, d Duration) {
	if d <= 0 {
		r.problem("must be more than 0s")
	}
}

func atMost(r report, d Duration, most time.Duration) {
	if time.Duration(d) > most {
		r.problem("%s is more than %s", time.Duration(d), most)
	}
}

func unique(r report, names []string) {
	for i, name := range names {
		if slices.Contains(names[:i], name) {
			r.item(i).problem("%q is there twice", name)
		}
	}
}
