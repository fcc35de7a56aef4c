// Package event is the protocol-neutral vocabulary of a session: who asks, what
// was asked, what came back and what was decided, together with the one binary
// encoding that plugins and recordings share. It imports the standard library
// only, so that guests compiled to WebAssembly can use it too.
package event

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// An Attr is a fact in a protocol's own terms, named by the OpenTelemetry
// semantic conventions where they have a name: "db.namespace", "url.path".
type Attr struct{ Key, Value string }

// A Principal is who a client or an approver proved to be. Issuer and Subject
// together are the stable identity; Name is for people to read.
type Principal struct {
	Issuer  string
	Subject string
	Name    string // e-mail address or preferred user name
	Groups  []string
	Expires time.Time // when the proof ends; zero when it does not
}

// Is reports whether p and q are the same identity. Names do not count: they
// can be reassigned.
func (p Principal) Is(q Principal) bool {
	return p.Issuer == q.Issuer && p.Subject == q.Subject
}

// A Session is one client's connection to one resource. It is fixed once it is
// opened.
type Session struct {
	ID        string // sortable by start, unique
	Gate      string // the gate that serves it
	Protocol  string // "postgres"
	Resource  string // the policy's name of the target
	Policy    string // version of the policy in force
	Principal Principal
	Client    string // the client's network address
	Start     time.Time
	Attrs     []Attr
}

// ErrPolicyChanged is why what was under way under a policy ends, where another
// one has come into force.
var ErrPolicyChanged = errors.New("the policy changed")

// A Request is one thing that a client asks for: a SQL statement, an HTTP
// request.
type Request struct {
	// Operation is the protocol's name for the kind of request: "query",
	// "prepare", "execute".
	Operation string
	// Payload is the text as the server would get it.
	Payload []byte
	// Params are the values that the payload refers to, as text. A nil
	// element is NULL. Of those that Cut names it is the beginning.
	Params [][]byte
	// Cut are the parameters that are too long to be shown whole, in order.
	Cut []Cut
	// Statements is what the payload does, outer statements before those
	// that they contain. It is empty where the protocol has no statements.
	Statements []Statement
	// Labels are what earlier plugins said of the request.
	Labels []Attr
	// Attrs is the context in which the request would run: "db.namespace",
	// "postgres.search_path", "db.transaction".
	Attrs []Attr
	// Masked are the columns whose values may be among what is masked in
	// the payload and the parameters: "schema.table.column", in which *
	// stands for what the text does not tell.
	Masked []string

	// Shared, if it is not nil, is what Operation, Statements and Attrs are, for
	// requests of which many have the same: see Facts. It is never encoded.
	Shared *Facts

	// Sent is what the server gets, and Bound what else decides what it
	// makes of it: the types of the parameters, settings. Neither is ever
	// encoded. Sent is nil where nothing is protected.
	Sent  *Sent
	Bound []Attr
}

// Sent are the parts of a request that are masked in what is recorded and
// shown of it, as the server gets them.
type Sent struct {
	Payload []byte
	Params  [][]byte // those that are cut are so here too
}

// Size is how many bytes s holds. A nil s holds none.
func (s *Sent) Size() int {
	if s == nil {
		return 0
	}
	n := len(s.Payload)
	for _, v := range s.Params {
		n += len(v)
	}
	return n
}

// A Cut is a parameter of which a request holds the beginning only.
type Cut struct {
	Param  int      // its index in Request.Params
	Size   uint64   // of all of it, in bytes, as the server gets it
	Digest [32]byte // of all of it, keyed by the gate
}

// CutSize returns the size of parameter i if it is cut, or 0.
func (r *Request) CutSize(i int) uint64 {
	at, found := slices.BinarySearchFunc(r.Cut, i, func(c Cut, i int) int { return c.Param - i })
	if !found {
		return 0
	}
	return r.Cut[at].Size
}

// EndsTransaction reports whether all that the request does is to end a
// transaction, or a part of one.
func (r *Request) EndsTransaction() bool {
	for i := range r.Statements {
		switch r.Statements[i].Kind {
		case "COMMIT", "ROLLBACK", "RELEASE", "PREPARE TRANSACTION", "COMMIT PREPARED", "ROLLBACK PREPARED":
		default:
			return false
		}
	}
	return len(r.Statements) > 0
}

// A Parameter is a part of the value of a parameter that its request cuts. The
// parts follow one another.
type Parameter struct {
	Param int
	Part  []byte
	// Secret is whether only its digest may be recorded. It is not encoded.
	Secret bool
}

// An Object names a thing that a statement touches. Schema is empty where the
// text does not name it.
type Object struct{ Schema, Name string }

// String returns "schema.name", or the name alone.
func (o Object) String() string {
	if o.Schema == "" {
		return o.Name
	}
	return o.Schema + "." + o.Name
}

// The attributes of a request that name the protected columns, one each, that it
// names at all, that it uses in a predicate, whose values it stores elsewhere, and
// of which it gets sums over enough rows to pass.
const (
	AttrColumn    = "gatehouse.column"
	AttrPredicate = "gatehouse.predicate"
	AttrStored    = "gatehouse.stored"
	AttrSum       = "gatehouse.sum"
)

// A Scope says which rows a statement's condition selects from its target.
type Scope uint8

// The scopes of an UPDATE, a DELETE or a MERGE.
const (
	ScopeNone       Scope = iota // not a statement with a condition
	ScopeAll                     // no condition, or one that does not restrict the target
	ScopeRestricted              // a condition that depends on the target's columns
)

// A Statement is one thing that a request does, as the protocol's own parser
// read it. Statements inside others (in a CTE, behind EXPLAIN, in a function's
// body) are elements of Request.Statements of their own.
type Statement struct {
	// Kind is the statement's command tag: "SELECT", "UPDATE", "DROP TABLE",
	// "ALTER TABLE", "SET".
	Kind string
	// Parent is the index in Request.Statements of the statement that
	// contains this one, or -1.
	Parent int
	// Within says how the parent contains it: "cte", "explain",
	// "explain analyze", "prepare", "execute", "cursor", "fetch", "copy", "as",
	// "view", "rule", "trigger", "cascade", "do", "function", "schema".
	Within string
	// Runs is whether the request carries the statement out. It is false
	// for what is only prepared, explained or defined.
	Runs bool
	// Writes are the objects that the statement changes, creates or drops.
	Writes []Object
	// Reads are the relations that it reads, those of subqueries included.
	Reads []Object
	// Columns are the columns that it names, "relation.column" where the
	// text qualifies them, "*" for all.
	Columns []string
	// Predicates are those of Columns on which it depends which rows there are,
	// or their order: they stand in conditions, comparisons, sort keys, limits.
	Predicates []string
	// Functions are the functions that it calls, as written, lower case.
	Functions []string
	// Operators are the operators that it applies, and Types the types that
	// it names, but for those that the protocol's language has of its own.
	Operators, Types []string
	// Settings are the session or server settings that it changes.
	Settings []string
	// Names are the prepared statements, cursors, roles, savepoints or
	// channels that it names.
	Names []string
	// Options are sub-actions and modifiers, in the SQL key words for them:
	// "DROP COLUMN", "OR REPLACE", "CASCADE", "FROM PROGRAM", "LOCAL",
	// "TEMPORARY", "CONCURRENTLY".
	Options []string
	// Scope is which rows of its target a write selects.
	Scope Scope
	// Opaque is whether some of it cannot be read: dynamic SQL, a body in
	// another language, an unknown prepared name.
	Opaque bool
	// Pinned are columns of the target of an UPDATE or DELETE that have to equal
	// one value each, as in "id", or the value of a variable, as in "id=which",
	// which may be a column's name too. They are never encoded.
	Pinned []string
	// Required are columns of the target: where none of them may be null, the
	// condition of an UPDATE or DELETE holds of every row, whatever Scope
	// says. They are never encoded.
	Required []string
	// Blind is whether the condition of an UPDATE or DELETE compares the columns of
	// a row with each other alone, of which planners know nothing: a <> lower(a).
	// It is never encoded.
	Blind bool
	// Sets are the columns that it gives values, as far as it names them. They
	// are never encoded.
	Sets []string
	// Symbols are the operators that it applies and PostgreSQL has too. They
	// are never encoded.
	Symbols []string
	// Fields are the names that it has behind a dot, each of which may be a
	// function's that is called with what stands before: "name" of a row, ".name"
	// of any value. They are never encoded.
	Fields []string
}

// Lineage says how a field's values come about.
type Lineage uint8

// The zero Lineage is unknown.
const (
	LineageUnknown  Lineage = iota
	LineageExact            // a column as it is
	LineageDerived          // computed from the origins
	LineageFiltered         // does not depend on the origins, but its presence does
	LineageClean            // depends on no column at all
)

// String returns the lineage's name in lower case.
func (l Lineage) String() string {
	names := [...]string{"unknown", "exact", "derived", "filtered", "clean"}
	if int(l) >= len(names) {
		return "invalid"
	}
	return names[l]
}

// A Field is a named place for values in a response: a SQL column, a JSON path.
type Field struct {
	Name    string   // as the client sees it
	Type    string   // the protocol's name for the type: "text", "int8"
	Origins []string // "schema.table.column"
	Lineage Lineage
	// Within are the places in documents that the values come from, of those of
	// Origins of which only places have a part. It is never encoded.
	Within []Place
	// Why says, for people, why the lineage is not known, or what a computed
	// value lacks for not depending on what is protected. It holds no values.
	Why string
}

// A Place is where values are in the documents of a column: the keys on the way to
// them, from the outermost, with Element for an array's elements.
type Place struct {
	Origin string
	Keys   []string
}

// Element stands for any element of an array among the keys of a Place. It is no
// text that is a key: it is no UTF-8.
const Element = "\xff"

// A Head begins a response, or one of several results in it.
type Head struct {
	Fields []Field
	Attrs  []Attr
}

// An Outcome ends a response. What became of it later, when its transaction
// ended, further outcomes of the exchange say.
type Outcome struct {
	// Status is "ok", "error", "refused", "skipped", "suspended" or
	// "unknown"; later "rolled back", "committed in part", "prepared" or
	// "unknown". What stays "ok" was committed, unless the recording ends
	// before its transaction does.
	Status string
	// Tag is the protocol's own word for it: "UPDATE 3".
	Tag string
	// Code is the protocol's error code: "42501".
	Code string
	// Rows is how many rows the client got.
	Rows int64
}

// An Action says what may happen to a request.
type Action uint8

// Actions, strictest first. The zero Action is Block, so that a forgotten
// verdict fails closed; of two actions the lower wins.
const (
	Block Action = iota
	Hold         // until someone approves
	Allow
)

// String returns the action's name in lower case.
func (a Action) String() string {
	switch a {
	case Block:
		return "block"
	case Hold:
		return "hold"
	case Allow:
		return "allow"
	}
	return "invalid"
}

// A Verdict is an action with its reason, which the client may read.
type Verdict struct {
	Action Action
	Rule   string // which rule decided: "guard/destruction"
	Reason string
	Labels []Attr // what the judge says of the request, for later judges
}

// A TreatmentKind says what is done to the values of a field.
type TreatmentKind uint8

// Treatments, strictest first but for Fake. The zero treatment removes the
// value.
const (
	Null     TreatmentKind = iota // NULL
	Redact                        // a constant
	Hash                          // a keyed hash
	KeepLast                      // all but the last N characters starred
	Replace                       // the plugin's own text; in an Edit only
	Inspect                       // each value goes to the plugin that asked
	Pass                          // as it is
	Fake                          // other digits and letters, by a key; stricter than KeepLast
	Detect                        // what detectors find in each value; less strict than Inspect
)

// A Treatment is what to do with one field.
type Treatment struct {
	Kind   TreatmentKind
	Keep   uint8       // for KeepLast: how many characters stay
	Rule   string      // which rule decided: "mask/public.customers.email"
	Detect []Detection // for Detect
}

// A Detection is what to do with the parts of a value that a detector finds:
// Null, which is for the whole value, Redact, Hash, KeepLast, Fake or Pass.
type Detection struct {
	Detector string // one that is built in, or that the plugin declares
	Kind     TreatmentKind
	Keep     uint8 // for KeepLast
}

// A Detector is a pattern of parts of values, which a plugin declares and the
// gate looks for.
type Detector struct {
	Name    string
	Pattern string // in RE2's syntax; its first group, if it has one, is the part
}

// rank orders kinds, strictest first.
func (k TreatmentKind) rank() int {
	switch k {
	case Fake:
		return 2*int(Hash) + 1
	case Detect:
		return 2*int(Inspect) + 1
	}
	return 2 * int(k)
}

// Partial is whether the treatment is one of parts of values, which depend on
// the value.
func (k TreatmentKind) Partial() bool { return k == Inspect || k == Detect }

// Edits is whether k is a treatment of parts of values.
func (k TreatmentKind) Edits() bool { return k < Inspect || k == Fake }

// Compare orders treatments, strictest first.
func (t Treatment) Compare(u Treatment) int {
	return cmp.Or(cmp.Compare(t.Kind.rank(), u.Kind.rank()), cmp.Compare(t.Keep, u.Keep))
}

// String returns the treatment as ParseTreatment reads it, or one that
// configurations do not have: "inspect", "replace", "detect email redact, card pass".
func (t Treatment) String() string {
	switch t.Kind {
	case KeepLast:
		return "keep_last:" + strconv.Itoa(int(t.Keep))
	case Inspect:
		return "inspect"
	case Replace:
		return "replace"
	case Detect:
		finds := make([]string, len(t.Detect))
		for i, d := range t.Detect {
			finds[i] = d.Detector + " " + Treatment{Kind: d.Kind, Keep: d.Keep}.String()
		}
		return "detect " + strings.Join(finds, ", ")
	}
	for name, kind := range treatmentKinds {
		if kind == t.Kind {
			return name
		}
	}
	return fmt.Sprintf("treatment %d", t.Kind)
}

// ParseTreatment reads a treatment as configurations have it: "null",
// "redact", "hash", "fake", "keep_last:N" or "pass".
func ParseTreatment(text string) (t Treatment, err error) {
	name, count, counted := strings.Cut(text, ":")
	kind, known := treatmentKinds[name]
	if !known || counted != (kind == KeepLast) {
		return t, fmt.Errorf("treatment %q is none of null, redact, hash, fake, keep_last:N and pass", text)
	}
	t.Kind = kind
	if counted {
		n, err := strconv.ParseUint(count, 10, 8)
		if err != nil || n == 0 {
			return t, fmt.Errorf("treatment %q: keep_last takes a number from 1 to 255", text)
		}
		t.Keep = uint8(n)
	}
	return t, nil
}

var treatmentKinds = map[string]TreatmentKind{"null": Null, "redact": Redact, "hash": Hash, "fake": Fake, "keep_last": KeepLast, "pass": Pass}

// A Note is a plugin's remark on an exchange or a session that has ended.
type Note struct {
	Text   string
	Labels []Attr
}

// An Edit treats a part of one inspected value.
type Edit struct {
	Row, Field int // indexes in the Rows that were inspected
	From, To   int // byte offsets in the value; To is exclusive
	Treatment  Treatment
	Text       []byte // for Replace
}

// A Pending is a held request that waits for a decision.
type Pending struct {
	ID        string // short enough to read out
	Session   *Session
	Exchange  uint64
	Request   *Request
	Verdict   Verdict
	Digest    [32]byte // binds the decision to the request and its context
	Approvers []string // groups that may decide
	Since     time.Time
	Expires   time.Time
	// Reveal returns what is masked in Request, after it has recorded that
	// by gets to see it. Whoever calls it has made sure that by may. Nil
	// where nothing is masked.
	Reveal func(ctx context.Context, by Principal) (*Sent, error)
	// Shown is called once those who may decide can see the request, before
	// a decision counts. It may be nil.
	Shown func()
}

// A Decision ends a Pending.
type Decision struct {
	Approved bool
	By       Principal // zero where nobody decided: time-out, cancel, hang-up
	Comment  string
	At       time.Time
}
