// Package storetest is the contract that every recorder.Store keeps, as a test.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"sync"
	"testing"

	"gatehouse/recorder"
)

// Run tests an empty store, which it fills.
func Run(t *testing.T, s recorder.Store) {
	t.Run("get what was put", func(t *testing.T) { testPut(t, s) })
	t.Run("put once", func(t *testing.T) { testPutOnce(t, s) })
	t.Run("one of many puts wins", func(t *testing.T) { testRace(t, s) })
	t.Run("replace", func(t *testing.T) { testReplace(t, s) })
	t.Run("one of many replacements wins", func(t *testing.T) { testReplaceRace(t, s) })
	t.Run("absent", func(t *testing.T) { testAbsent(t, s) })
	t.Run("list", func(t *testing.T) { testList(t, s) })
	t.Run("ended context", func(t *testing.T) { testContext(t, s) })
}

func put(t *testing.T, s recorder.Store, name string, data []byte) {
	t.Helper()
	if err := s.Put(t.Context(), name, data); err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, s recorder.Store, name string) []byte {
	t.Helper()
	r, err := s.Get(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func testPut(t *testing.T, s recorder.Store) {
	for i, data := range [][]byte{nil, []byte("x"), bytes.Repeat([]byte("0123456789"), 2<<20)} {
		name := fmt.Sprintf("put/a/b-%d_c.d", i)
		put(t, s, name, data)
		if got := get(t, s, name); !bytes.Equal(got, data) {
			t.Errorf("%s: got %d bytes, put %d", name, len(got), len(data))
		}
	}
}

func testPutOnce(t *testing.T, s recorder.Store) {
	put(t, s, "once/a", []byte("first"))
	for _, data := range []string{"first", "second", ""} {
		if err := s.Put(t.Context(), "once/a", []byte(data)); !errors.Is(err, fs.ErrExist) {
			t.Errorf("put %q again: %v", data, err)
		}
	}
	if got := get(t, s, "once/a"); string(got) != "first" {
		t.Errorf("after further puts: %q", got)
	}
}

func testRace(t *testing.T, s recorder.Store) {
	var wg sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		wg.Go(func() { errs[i] = s.Put(t.Context(), "race/a", bytes.Repeat([]byte{byte(i)}, 100_000)) })
	}
	wg.Wait()
	got := get(t, s, "race/a")
	won := 0
	for i, err := range errs {
		switch {
		case err == nil:
			won++
			if !bytes.Equal(got, bytes.Repeat([]byte{byte(i)}, 100_000)) {
				t.Errorf("put %d succeeded, but its data is not there", i)
			}
		case !errors.Is(err, fs.ErrExist):
			t.Error(err)
		}
	}
	if won != 1 {
		t.Errorf("%d puts succeeded", won)
	}
}

func testReplace(t *testing.T, s recorder.Store) {
	if err := s.Replace(t.Context(), "replace/a", []byte("one"), []byte("two")); !errors.Is(err, recorder.ErrChanged) {
		t.Errorf("replace what is absent: %v", err)
	}
	var old []byte
	for _, data := range []string{"one", "another", "", "the last"} {
		if err := s.Replace(t.Context(), "replace/a", old, []byte(data)); err != nil {
			t.Fatal(err)
		}
		if got := get(t, s, "replace/a"); string(got) != data {
			t.Errorf("replaced by %q: got %q", data, got)
		}
		old = []byte(data)
	}
	for _, old := range [][]byte{nil, {}, []byte("one"), []byte("the lost"), []byte("the last and more")} {
		if err := s.Replace(t.Context(), "replace/a", old, []byte("wrong")); !errors.Is(err, recorder.ErrChanged) {
			t.Errorf("replace %q, which it does not hold: %v", old, err)
		}
	}
	if got := get(t, s, "replace/a"); string(got) != "the last" {
		t.Errorf("afterwards: %q", got)
	}
}

// One of many who replace the same thing does.
func testReplaceRace(t *testing.T, s recorder.Store) {
	put(t, s, "swap/a", []byte("old"))
	var wg sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		wg.Go(func() { errs[i] = s.Replace(t.Context(), "swap/a", []byte("old"), fmt.Append(nil, i)) })
	}
	wg.Wait()
	got := string(get(t, s, "swap/a"))
	for i, err := range errs {
		if won := got == fmt.Sprint(i); won != (err == nil) || !won && !errors.Is(err, recorder.ErrChanged) {
			t.Errorf("it holds %q; replacement %d: %v", got, i, err)
		}
	}
}

func testAbsent(t *testing.T, s recorder.Store) {
	put(t, s, "absent/folder/a", nil)
	for _, name := range []string{"absent/a", "nowhere/a"} {
		if r, err := s.Get(t.Context(), name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("get %s: %v, %v", name, r, err)
		}
	}
	if names := list(t, s, "nowhere/"); len(names) != 0 {
		t.Errorf("list of nothing: %q", names)
	}
}

func list(t *testing.T, s recorder.Store, folder string) (names []string) {
	t.Helper()
	for name, err := range s.List(t.Context(), folder) {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func testList(t *testing.T, s recorder.Store) {
	var want []string
	for i := range 1100 { // more than a page of S3
		name := fmt.Sprintf("list/%04d", i)
		put(t, s, name, nil)
		want = append(want, name)
	}
	put(t, s, "list/b/c/d", nil)
	put(t, s, "list/b/e", nil)
	put(t, s, "list-not/f", nil)
	want = append(want, "list/b/")
	if got := list(t, s, "list/"); !slices.Equal(got, want) {
		t.Errorf("got %d names, want %d", len(got), len(want))
	}
	if got := list(t, s, "list/b/"); !slices.Equal(got, []string{"list/b/c/", "list/b/e"}) {
		t.Errorf("got %q", got)
	}
	if got := list(t, s, ""); !slices.Contains(got, "list/") || !slices.Contains(got, "list-not/") {
		t.Errorf("top: %q", got)
	}
	for range s.List(t.Context(), "list/") {
		break // ending early is allowed
	}
}

func testContext(t *testing.T, s recorder.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Put(ctx, "ended/a", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("put: %v", err)
	}
	if _, err := s.Get(ctx, "ended/a"); !errors.Is(err, context.Canceled) {
		t.Errorf("get: %v", err)
	}
	for _, err := range s.List(ctx, "ended/") {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("list: %v", err)
		}
	}
}
