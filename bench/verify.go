package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"gatehouse/core/event"
	"gatehouse/recorder"
)

// verifyGoal is the least share of sha256sum's speed that verification should
// reach.
const verifyGoal = 1.0 / 3

// The ways to read all that a store has.
const (
	verifying = "gatehouse verify"
	digesting = "sha256sum"
)

// measureVerify verifies recordings in a directory and digests the same files
// with sha256sum, each with its own program.
func measureVerify(ctx context.Context, s settings, _ *lab) (_ []goal, err error) {
	dir, err := os.MkdirTemp("", "gatehouse-bench-")
	if err != nil {
		return nil, fmt.Errorf("make the store's directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	store, key := filepath.Join(dir, "store"), filepath.Join(dir, "key")
	size, err := recordNoise(ctx, dir, store, key, s.recordings)
	if err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	routes := []*route{{name: verifying}, {name: digesting}}
	programs := map[string][]string{
		verifying: {s.gate, "verify", "--store", store, "--key", "file:" + key},
		digesting: {"sh", "-c", `find "$0" -type f -print0 | xargs -0 sha256sum`, store},
	}
	took, err := interleave(s.rounds, routes, func(r *route) (sample, error) {
		return timed(r, func() (float64, error) {
			args := programs[r.name]
			out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput()
			if err != nil {
				return 0, fmt.Errorf("%w\n%s", err, out)
			}
			return size / 1e6, nil
		})
	})
	if err != nil {
		return nil, err
	}
	share := took.speed(verifying, digesting)
	t := table{title: fmt.Sprintf("Verification of %.0f MB of recordings", size/1e6), columns: []string{"program", "MB a second", "of sha256sum"}}
	for _, r := range routes {
		t.add(r.name, whole(1e6/took.time(r.name)), ratio(took.speed(r.name, digesting)))
	}
	return []goal{{what: "speed of verify, of sha256sum's", got: share, bound: verifyGoal, least: true}}, t.print(os.Stdout)
}

// recordNoise records sessions whose data does not compress, of so many
// megabytes in all, and the key to verify them with. It returns the size of what
// is stored.
func recordNoise(ctx context.Context, dir, store, keyFile string, megabytes int) (size float64, err error) {
	to, err := recorder.OpenDir(store)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	key, public, err := recorder.GenerateKey("bench")
	if err != nil {
		return 0, err
	}
	if err := os.WriteFile(keyFile, []byte(public), 0o600); err != nil {
		return 0, err
	}
	r, err := recorder.Open(recorder.Options{Spool: filepath.Join(dir, "spool"), Store: to, Key: key})
	if err != nil {
		return 0, err
	}
	noise := make([]byte, 10_000)
	for i := range (megabytes + 9) / 10 {
		info := &event.Session{ID: fmt.Sprintf("s%06d", i), Start: time.Now()}
		s, err := r.Begin(info)
		if err != nil {
			return 0, errors.Join(err, r.Close(ctx))
		}
		err = s.Append(event.Frame{Kind: event.KindOpen, Time: info.Start, Payload: info.Append(nil)})
		for j := 0; err == nil && j < 1000; j++ {
			_, _ = rand.Read(noise)
			err = s.Append(event.Frame{Kind: event.KindData, Exchange: 1, Time: time.Now(), Payload: noise})
		}
		if err = errors.Join(err, s.Close()); err != nil {
			return 0, errors.Join(err, r.Close(ctx))
		}
	}
	if err := r.Close(ctx); err != nil {
		return 0, err
	}
	err = filepath.WalkDir(store, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		i, err := d.Info()
		if err == nil {
			size += float64(i.Size())
		}
		return err
	})
	return size, err
}
