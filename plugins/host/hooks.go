package host

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"gatehouse/core/detect"
	"gatehouse/core/event"
)

// abiVersion is the version of the interface that this package speaks: major
// and minor. sdk/ABI.md specifies it.
const abiVersion = 1 << 16

// A hook is a function that a guest may have for the host to call.
type hook int

const (
	hookConfigure hook = iota
	hookOpen
	hookRequest
	hookHead
	hookRows
	hookUpload
	hookEnd
	hookClose
	hookCount
)

// Bits beside those of the hooks.
const (
	factsOnly   = 1 << 16 // the guest sees facts only
	needsClock  = 1 << 17 // it is not to run without the grant clock
	needsRandom = 1 << 18 // nor without the grant random
)

var hookNames = [hookCount]string{"configure", "on_open", "on_request", "on_head", "on_rows", "on_upload", "on_end", "on_close"}

func (h hook) String() string { return hookNames[h] }

// Limits of what a guest may answer, in bytes.
var maxReply = [hookCount]uint32{128 << 10, 8 << 10, 64 << 10, 1 << 20, 8 << 20, 64 << 10, 64 << 10, 64 << 10}

// Limits of parts of answers.
const (
	maxState     = 4 << 10
	maxProblem   = 4 << 10
	maxRule      = 256
	maxReason    = 4 << 10
	maxLabels    = 64
	maxLabelKey  = 256
	maxLabel     = 1 << 10
	maxDetectors = 64
)

// minBuffer is the least that is asked of a guest for its buffer, so that most
// calls need not ask.
const minBuffer = 64 << 10

// prepare finds out what the guest is and configures it.
func (in *instance) prepare(config []byte) error {
	in.buffer = in.module.ExportedFunction("buffer")
	if err := in.checkVersion(); err != nil {
		return err
	}
	bits := uint32(1<<hookCount - 1)
	if in.module.ExportedFunction("hooks") != nil {
		var err error
		if bits, err = in.number("hooks"); err != nil {
			return err
		}
	}
	if unknown := bits &^ (1<<hookCount - 1 | factsOnly | needsClock | needsRandom); unknown != 0 {
		return fmt.Errorf("hooks: unknown bits %#x", unknown)
	}
	for _, g := range []struct {
		name            string
		needed, granted bool
	}{{"clock", bits&needsClock != 0, in.limits.Clock}, {"random", bits&needsRandom != 0, in.limits.Random}} {
		if g.needed && !g.granted {
			return &GrantError{g.name}
		}
	}
	in.factsOnly = bits&factsOnly != 0
	for h := range hookCount {
		if bits&(1<<h) != 0 {
			in.hooks[h] = in.module.ExportedFunction(h.String())
		}
	}
	if in.hooks[hookRequest] == nil && in.hooks[hookHead] == nil && in.hooks[hookUpload] == nil && in.hooks[hookEnd] == nil {
		return errors.New("uses none of " + purposes)
	}
	return in.configure(config)
}

// A GrantError says that a plugin needs a grant that it has not been given.
type GrantError struct{ Grant string }

func (e *GrantError) Error() string {
	return "the plugin needs the grant " + e.Grant + ": give it with grants: [" + e.Grant + "]"
}

// purposes are the hooks of which a plugin has at least one.
const purposes = "on_request, on_head, on_upload and on_end"

func (in *instance) checkVersion() error {
	v, err := in.number("abi_version")
	if err == nil && (v>>16 != abiVersion>>16 || v > abiVersion) {
		err = fmt.Errorf("speaks version %d.%d of the ABI, not %d.%d", v>>16, v&0xffff, abiVersion>>16, abiVersion&0xffff)
	}
	return err
}

// number calls an exported function without parameters that returns an i32.
func (in *instance) number(name string) (uint32, error) {
	in.args[0] = 0
	if err := in.call(in.module.ExportedFunction(name)); err != nil {
		return 0, fmt.Errorf("%s: %w", name, err)
	}
	return uint32(in.args[0]), nil
}

func (in *instance) configure(config []byte) error {
	if in.hooks[hookConfigure] == nil {
		if !emptyConfig(config) {
			return errors.New("takes no configuration")
		}
		return nil
	}
	input := event.AppendSection(nil, event.SectionConfig, config)
	input = event.AppendSection(input, event.SectionHost, event.AppendUint(nil, 1, abiVersion))
	if err := in.ask(hookConfigure, input); err != nil {
		return fmt.Errorf("configure: %w", err)
	}
	if problem := in.reply.Section(event.SectionProblem); len(problem) > maxProblem {
		return fmt.Errorf("configure: %w: a problem of %d bytes", ErrAnswer, len(problem))
	} else if len(problem) > 0 {
		return errors.New(clean(string(problem)))
	}
	finds, err := event.DecodeDetectors(in.reply.Section(event.SectionDetectors))
	if err == nil && len(finds) > maxDetectors {
		err = fmt.Errorf("%d detectors", len(finds))
	}
	if err != nil {
		return fmt.Errorf("configure: %w: %w", ErrAnswer, err)
	}
	in.finds = finds
	return nil
}

// ask calls h with an input and decodes its answer to in.reply, which is valid
// until the next call.
func (in *instance) ask(h hook, input []byte) error {
	view, err := in.room(len(input))
	if err != nil {
		return err
	}
	copy(view, input)
	return in.invoke(h, len(input))
}

// room returns a view of the guest's buffer of n bytes, to be written before
// the next call of the guest.
func (in *instance) room(n int) ([]byte, error) {
	memory := in.module.Memory()
	if uint64(n) > uint64(in.size) {
		size := uint64(minBuffer)
		for size < uint64(n) {
			size *= 2
		}
		if size > 1<<31 {
			return nil, fmt.Errorf("%w: input of %d bytes", ErrTooLarge, n)
		}
		in.args[0] = size
		if err := in.call(in.buffer); err != nil {
			return nil, fmt.Errorf("buffer: %w", err)
		}
		in.ptr, in.size = uint32(in.args[0]), uint32(size)
		if _, ok := memory.Read(in.ptr, in.size); !ok || in.ptr%4 != 0 {
			return nil, fmt.Errorf("%w: buffer of %d bytes at %d is outside the memory, or not at a multiple of 4", ErrAnswer, size, in.ptr)
		}
	}
	view, ok := memory.Read(in.ptr, uint32(n))
	if !ok {
		return nil, fmt.Errorf("%w: the buffer is outside the memory", ErrAnswer)
	}
	return view, nil
}

// invoke calls h with an input of n bytes, which are in the buffer, and decodes
// its answer to in.reply, which is valid until the next call.
func (in *instance) invoke(h hook, n int) error {
	in.args[0] = uint64(n)
	if err := in.call(in.hooks[h]); err != nil {
		return err
	}
	packed := in.args[0]
	if int64(packed) < 0 {
		return fmt.Errorf("%w: it reports an error", ErrAnswer)
	}
	ptr, size := uint32(packed>>32), uint32(packed)
	if size > maxReply[h] {
		return fmt.Errorf("%w: %d bytes are more than %d", ErrAnswer, size, maxReply[h])
	}
	reply, ok := in.module.Memory().Read(ptr, size)
	if !ok {
		return fmt.Errorf("%w: %d bytes at %d are outside the memory", ErrAnswer, size, ptr)
	}
	if err := in.reply.Decode(reply); err != nil {
		return fmt.Errorf("%w: %w", ErrAnswer, err)
	}
	return nil
}

// describe sets in.before to what an input of on_rows begins with: the state
// of the session, and a head of those of all fields that fields lists.
func (in *instance) describe(state []byte, all []event.Field, fields []int) {
	in.fields.Fields = in.fields.Fields[:0]
	for _, j := range fields {
		in.fields.Fields = append(in.fields.Fields, all[j])
	}
	b, at := event.BeginSection(append(in.before[:0], state...), event.SectionHead)
	in.before = event.EndSection(in.fields.Append(b), at)
}

// clean returns s without what is not UTF-8 and without control characters,
// which could deceive those who read it.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsGraphic(r) || r == '\n' || r == '\t' {
			return r
		}
		return '?'
	}, strings.ToValidUTF8(s, "?"))
}

// brief is clean of the beginning of s.
func brief(s string) string {
	const most = 200
	if len(s) > most {
		s = s[:most] + "…"
	}
	return clean(s)
}

// checkLabels checks and cleans what a guest says in labels.
func checkLabels(labels []event.Attr) error {
	if len(labels) > maxLabels {
		return fmt.Errorf("%d labels", len(labels))
	}
	for i := range labels {
		l := &labels[i]
		if len(l.Key) > maxLabelKey || len(l.Value) > maxLabel {
			return fmt.Errorf("label of %d and %d bytes", len(l.Key), len(l.Value))
		}
		l.Key, l.Value = clean(l.Key), clean(l.Value)
	}
	return nil
}

func checkVerdict(v *event.Verdict) error {
	if len(v.Rule) > maxRule || len(v.Reason) > maxReason {
		return fmt.Errorf("rule of %d bytes, reason of %d", len(v.Rule), len(v.Reason))
	}
	v.Rule, v.Reason = clean(v.Rule), clean(v.Reason)
	return checkLabels(v.Labels)
}

func checkNote(n *event.Note) error {
	if len(n.Text) > maxReason {
		return fmt.Errorf("note of %d bytes", len(n.Text))
	}
	n.Text = clean(n.Text)
	return checkLabels(n.Labels)
}

// checkTreatments checks what the guest says of the fields of h.
func (p *Plugin) checkTreatments(ts []event.Treatment, h *event.Head) error {
	if len(ts) != len(h.Fields) {
		return fmt.Errorf("%d treatments for %d fields", len(ts), len(h.Fields))
	}
	for i := range ts {
		t := &ts[i]
		if len(t.Rule) > maxRule {
			return fmt.Errorf("rule of %d bytes", len(t.Rule))
		}
		t.Rule = clean(t.Rule)
		if t.Kind == event.Replace || t.Kind == event.Inspect && !p.uses[hookRows] || t.Kind == event.Detect != (len(t.Detect) > 0) || len(t.Detect) > maxDetectors {
			return fmt.Errorf("treatment %d with %d detectors", t.Kind, len(t.Detect))
		}
		for _, d := range t.Detect {
			if !p.detectors.Has(d.Detector) {
				return fmt.Errorf("detector %q is unknown", clean(d.Detector))
			}
			switch d.Kind {
			case event.Null, event.Redact, event.Hash, event.KeepLast, event.Fake, event.Pass:
			default:
				return fmt.Errorf("treatment %d of what detector %q finds", d.Kind, d.Detector)
			}
		}
		if t.Kind == event.Detect && detect.Futile(h.Fields[i].Type, t.Detect) {
			ts[i] = event.Treatment{Kind: event.Pass}
		}
	}
	return nil
}

// same refuses an instance that says other things of itself than the first one.
func (p *Plugin) same(in *instance) error {
	if p.uses != in.uses() || p.factsOnly != in.factsOnly || !slices.Equal(p.finds, in.finds) {
		return fmt.Errorf("%w: instances of the module say different things of themselves", ErrAnswer)
	}
	return nil
}

// uses tells which hooks the guest has.
func (in *instance) uses() (uses [hookCount]bool) {
	for h, f := range in.hooks {
		uses[h] = f != nil
	}
	return uses
}

// emptyConfig is whether a configuration has no settings.
func emptyConfig(config []byte) bool {
	var settings map[string]json.RawMessage
	return json.Unmarshal(config, &settings) == nil && len(settings) == 0
}
