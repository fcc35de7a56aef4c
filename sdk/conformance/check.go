package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/go-cmp/cmp"

	"gatehouse/core/event"
)

// check returns all in which a guest differs from ABI.md.
func check(ctx context.Context, wasm []byte, golden string) error {
	m, err := compile(ctx, wasm)
	if err != nil {
		return err
	}
	files, err := filepath.Glob(filepath.Join(golden, "*.bin"))
	if err != nil || len(files) == 0 {
		return errors.Join(err, fmt.Errorf("there are no golden files in %s", golden), m.close(ctx))
	}
	var errs []error
	for _, f := range files {
		name := strings.TrimSuffix(f, ".bin")
		check := m.reads
		switch {
		case strings.HasPrefix(filepath.Base(name), "bad-"):
			continue // for hosts
		case strings.HasSuffix(name, "-out"):
			check = m.writes
		}
		if err := check(ctx, name); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", filepath.Base(name), err))
		}
	}
	if err := m.staysSmall(ctx); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(append(errs, m.close(ctx))...)
}

// hookOf returns the hook that a golden file's message is of.
func hookOf(name string) string {
	for _, h := range hooks {
		if strings.HasPrefix(filepath.Base(name), h+"-") {
			return h
		}
	}
	return ""
}

// load reads a golden message and what it says.
func load(name string) (message, says []byte, err error) {
	message, err1 := os.ReadFile(name + ".bin")
	says, err2 := os.ReadFile(name + ".json")
	return message, says, errors.Join(err1, err2)
}

// reads checks that a guest reads an input, and all that says the same.
func (m *module) reads(ctx context.Context, name string) error {
	in, says, err := load(name)
	if err != nil {
		return err
	}
	want, err := plain(says)
	if err != nil {
		return err
	}
	g, err := m.start(ctx, []byte("{}"))
	if err != nil {
		return err
	}
	defer func() { _ = g.Close(ctx) }()
	hook := hookOf(name)
	for _, v := range append(alike(in), variant{"as it is, after those", in}) {
		told, err := g.told(ctx, hook, v.message)
		if err != nil {
			return fmt.Errorf("%s: %w", v.how, err)
		}
		got, err := plain([]byte(told))
		if err != nil {
			return fmt.Errorf("%s: %w", v.how, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			return fmt.Errorf("%s it is not read right (-want +got):\n%s", v.how, diff)
		}
	}
	return m.refuses(ctx, hook, in)
}

// refuses checks that a guest does not answer a message whose structures are cut
// off. It may trap.
func (m *module) refuses(ctx context.Context, hook string, in []byte) error {
	for _, s := range sections(in) {
		if !s.structured() || len(s.contents) == 0 {
			continue
		}
		g, err := m.start(ctx, []byte("{}"))
		if err != nil {
			return err
		}
		cut := replace(in, s.tag, s.contents[:len(s.contents)-1])
		_, err = g.call(ctx, hook, cut)
		_ = g.Close(ctx)
		if err == nil {
			return fmt.Errorf("section %d is cut off, and it answers", s.tag)
		}
	}
	return nil
}

// writes checks that a guest writes an answer byte for byte.
func (m *module) writes(ctx context.Context, name string) error {
	want, says, err := load(name)
	if err != nil {
		return err
	}
	var answer struct {
		Treatments struct{ Treatments []any }
	}
	if err := json.Unmarshal(says, &answer); err != nil {
		return err
	}
	config := fmt.Appendf(nil, `{"answer": %s}`, says)
	hook := hookOf(name)
	if hook == "configure" {
		return m.writesConfigured(ctx, config, want)
	}
	g, err := m.start(ctx, config)
	if err != nil {
		return err
	}
	defer func() { _ = g.Close(ctx) }()
	in, err := os.ReadFile(filepath.Join(filepath.Dir(name), hook+"-in.bin"))
	if err != nil {
		return err
	}
	if hook == "on_head" { // it has as many fields as the answer treatments
		head := event.Head{Fields: make([]event.Field, len(answer.Treatments.Treatments))}
		in = replace(in, event.SectionHead, head.Append(nil))
	}
	for range 2 {
		got, err := g.call(ctx, hook, in)
		if err != nil {
			return err
		}
		if err := same(got, want); err != nil {
			return err
		}
	}
	return nil
}

// writesConfigured is writes for configure.
func (m *module) writesConfigured(ctx context.Context, config, want []byte) error {
	instance, err := m.runtime.InstantiateModule(ctx, m.code, instanceConfig)
	if err != nil {
		return err
	}
	defer func() { _ = instance.Close(ctx) }()
	got, err := (&guest{Module: instance}).call(ctx, "configure", configInput(config))
	if err != nil {
		return err
	}
	return same(got, want)
}

func same(got, want []byte) error {
	if !bytes.Equal(got, want) {
		return fmt.Errorf("writes\n%x instead of\n%x", got, want)
	}
	return nil
}

// enough is how many bytes a guest gets of inputs alike before its memory must stay
// as it is.
const enough = 16 << 20

// staysSmall checks that a guest frees what a call took, and that its buffer
// grows.
func (m *module) staysSmall(ctx context.Context) error {
	g, err := m.start(ctx, []byte("{}"))
	if err != nil {
		return err
	}
	defer func() { _ = g.Close(ctx) }()
	var session event.Session
	var sizes []uint32
	for _, n := range []int{100, 1000, 30_000, 70_000, 200_000} {
		r := event.Request{Operation: "query", Payload: bytes.Repeat([]byte("é"), n/2)}
		in := event.AppendSection(nil, event.SectionSession, session.Append(nil))
		in = event.AppendSection(in, event.SectionRequest, r.Append(nil))
		warm := max(100, enough/(n+1000)) // so that a garbage collector has run
		for i := range warm + 200 {
			told, err := g.told(ctx, "on_request", in)
			if err != nil {
				return fmt.Errorf("call %d with %d bytes: %w", i, n, err)
			}
			if !strings.Contains(told, string(r.Payload)) {
				return fmt.Errorf("a payload of %d bytes is not read right", n)
			}
			if i == warm-1 || i == warm+199 {
				sizes = append(sizes, g.Memory().Size())
			}
		}
	}
	for i := 0; i < len(sizes); i += 2 {
		if sizes[i+1] > sizes[i] {
			return fmt.Errorf("200 calls alike make its memory grow from %d to %d bytes", sizes[i], sizes[i+1])
		}
	}
	return nil
}

// plain parses the JSON of a message and leaves out of its structures what is
// empty: it says as much as what is left out.
func plain(b []byte) (any, error) {
	var v any
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	err := d.Decode(&v)
	if err == nil {
		if _, err = d.Token(); err == io.EOF {
			return withoutEmpty(v), nil
		}
	}
	return nil, fmt.Errorf("tells no JSON: %w: %.200q", err, b)
}

func withoutEmpty(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			switch e = withoutEmpty(e); e := e.(type) {
			case map[string]any:
				if len(e) == 0 {
					delete(v, k)
				}
			case []any:
				if len(e) == 0 {
					delete(v, k)
				}
			case string, bool, json.Number, nil:
				if e == nil || e == "" || e == false || e == json.Number("0") {
					delete(v, k)
				}
			}
		}
	case []any:
		for i := range v {
			v[i] = withoutEmpty(v[i])
		}
	}
	return v
}

// A section is one of a message.
type section struct {
	tag      event.Section
	contents []byte
}

func (s section) structured() bool {
	switch s.tag {
	case event.SectionSession, event.SectionRequest, event.SectionHead, event.SectionOutcome, event.SectionHost:
		return true
	}
	return false
}

// sections splits a message that is well-formed.
func sections(b []byte) (all []section) {
	for len(b) > 0 {
		n := int(binary.LittleEndian.Uint32(b[4:]))
		all = append(all, section{event.Section(binary.LittleEndian.Uint32(b)), b[8 : 8+n]})
		b = b[event.SizeSection(n):]
	}
	return all
}

func message(all []section) (b []byte) {
	for _, s := range all {
		b = event.AppendSection(b, s.tag, s.contents)
	}
	return b
}

// replace returns a message with other contents of a section.
func replace(b []byte, tag event.Section, contents []byte) []byte {
	all := sections(b)
	for i := range all {
		if all[i].tag == tag {
			all[i].contents = contents
		}
	}
	return message(all)
}

// A variant of a message says the same.
type variant struct {
	how     string
	message []byte
}

// alike returns messages that say the same as one, if what a guest does not know
// is skipped.
func alike(b []byte) []variant {
	var reversed, strange, unknown []section
	// A tag and a length of several bytes, and contents that are no structure.
	element := append(binary.AppendUvarint(nil, 1<<40), 3, 0xff, 0xff, 0xff)
	for _, s := range sections(b) {
		reversed = append([]section{s}, reversed...)
		strange = append(strange, section{1<<31 + s.tag, []byte("new")}, s)
		if s.structured() {
			s.contents = bytes.Join([][]byte{element, s.contents, element}, nil)
		}
		unknown = append(unknown, s)
	}
	variants := []variant{
		{"as it is", b},
		{"with its sections the other way round", message(reversed)},
		{"between unknown sections", message(strange)},
		{"with unknown elements", message(unknown)},
	}
	// Of an element that is there twice the last counts.
	for _, s := range sections(b) {
		if s.tag == event.SectionSession || s.tag == event.SectionRequest || s.tag == event.SectionOutcome {
			first := append([]byte{1, 5}, "first"...)
			if len(s.contents) > 0 && s.contents[0] == 1 {
				variants = append(variants, variant{"with an element twice", replace(b, s.tag, append(first, s.contents...))})
			}
		}
	}
	return variants
}
