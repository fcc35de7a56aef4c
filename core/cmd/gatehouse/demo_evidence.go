package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"gatehouse/recorder"
)

// showRecording replays a session and verifies all of them.
func (d *demo) showRecording(ctx context.Context, id string) error {
	if err := d.ended(ctx, id); err != nil {
		return err
	}
	d.title("The recording of session " + id)
	if err := replay(ctx, d.w, d.gate.recorder.Reader(), id); err != nil {
		return err
	}
	d.title("Its check")
	report, err := d.verify(ctx, d.gate.parts.store)
	if err != nil {
		return err
	}
	return writeReport(d.w, report)
}

// ended returns when a session that its client has left is stored whole.
func (d *demo) ended(ctx context.Context, id string) error {
	for {
		s, err := d.gate.recorder.Reader().Summary(ctx, id)
		if err != nil {
			return err
		}
		if !s.Open {
			return d.gate.recorder.Flush(ctx)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (d *demo) verify(ctx context.Context, store recorder.Store) (*recorder.Report, error) {
	key, err := recorder.VerifierKey(d.gate.parts.signer)
	if err != nil {
		return nil, err
	}
	return recorder.Verify(ctx, store, key, recorder.VerifyOptions{Frames: true})
}

// verifying: the recordings verify as they are, and not when they are tampered
// with.
func (t *tour) verifying(ctx context.Context) error {
	for _, id := range t.sessions {
		if err := t.ended(ctx, id); err != nil {
			return err
		}
	}
	report, err := t.verify(ctx, t.gate.parts.store)
	if err == nil {
		err = expect(report.OK() && report.Sessions >= len(t.sessions) && len(report.Open) == 0, "of %d sessions: %v", report.Sessions, report.Problems)
	}
	t.check("the recordings verify", err)
	for _, c := range []struct {
		what   string
		fault  recorder.Fault
		tamper func(piece []byte) []byte
	}{
		{"one changed byte is found, and where", recorder.Altered, func(b []byte) []byte {
			b[len(b)/2] ^= 1
			return b
		}},
		{"a removed piece is found", recorder.Missing, func([]byte) []byte { return nil }},
	} {
		t.check(c.what, t.tampered(ctx, c.fault, c.tamper))
	}
	return nil
}

// tampered copies the store but for one piece, which tamper changes, or
// removes by returning nothing, and returns an error unless Verify blames that
// piece.
func (t *tour) tampered(ctx context.Context, want recorder.Fault, tamper func([]byte) []byte) error {
	dir, err := recorder.OpenDir(t.path("copy-" + strings.ReplaceAll(string(want), " ", "-")))
	if err != nil {
		return err
	}
	defer dir.Close()
	victim := ""
	err = walk(ctx, t.gate.parts.store, "", func(name string, b []byte) error {
		if victim == "" && strings.HasSuffix(name, ".piece") && strings.Contains(name, t.sessions[0]) {
			victim = name
			if b = tamper(b); b == nil {
				return nil
			}
		}
		return dir.Put(ctx, name, b)
	})
	if err != nil {
		return err
	}
	report, err := t.verify(ctx, dir)
	if err != nil {
		return err
	}
	return expect(slices.ContainsFunc(report.Problems, func(p recorder.Problem) bool { return p.Object == victim && p.Fault == want }),
		"%s was tampered with, found was %v", victim, report.Problems)
}

// walk calls use with every object below a folder.
func walk(ctx context.Context, s recorder.Store, folder string, use func(name string, b []byte) error) error {
	for name, err := range s.List(ctx, folder) {
		if err != nil {
			return err
		}
		if strings.HasSuffix(name, "/") {
			if err := walk(ctx, s, name, use); err != nil {
				return err
			}
			continue
		}
		b, err := readObject(ctx, s, name)
		if err == nil {
			err = use(name, b)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
