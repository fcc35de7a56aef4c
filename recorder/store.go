package recorder

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// A Store keeps objects by name. Names are valid by fs.ValidPath. A store is
// safe for concurrent use.
type Store interface {
	// Put creates the object. It fails with fs.ErrExist if there is one of
	// that name, and then changes nothing. When it returns nil the object is
	// durable; after any other error it may or may not be there, whole.
	Put(ctx context.Context, name string, data []byte) error
	// Replace puts data in the place of old, which the object holds, or with
	// nil creates the object, in one step for readers. It fails with
	// ErrChanged if the object holds something else, and then changes
	// nothing. After any other error it may or may not be replaced.
	Replace(ctx context.Context, name string, old, data []byte) error
	// Get opens the object. It fails with fs.ErrNotExist if there is none.
	// The caller closes the reader, which ends with ctx.
	Get(ctx context.Context, name string) (io.ReadCloser, error)
	// List yields the names in folder, which is "" or ends in a slash, in
	// any order: of objects as they are, of folders with a slash at their
	// end. A folder that does not exist is empty.
	List(ctx context.Context, folder string) iter.Seq2[string, error]
}

// ErrChanged means that an object is not what it was thought to be.
var ErrChanged = errors.New("the object holds something else")

// errTooLarge means that an object is larger than its kind can be.
var errTooLarge = errors.New("it is too large")

// get reads a whole object of at most limit bytes.
func get(ctx context.Context, s Store, name string, limit int64) ([]byte, error) {
	r, err := s.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("read %s: %w", name, errTooLarge)
	}
	return b, nil
}

// A Dir is a Store in a directory. Objects are files that only their owner can
// read.
type Dir struct{ root *os.Root }

// OpenDir returns a store in the directory at path, which it creates if needed.
func OpenDir(path string) (*Dir, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	return &Dir{root}, nil
}

// Close releases the directory. No other method may be called afterwards.
func (d *Dir) Close() error { return d.root.Close() }

// partial marks files that are being written; List passes over them.
const partial = ".partial"

// Put implements Store.
func (d *Dir) Put(ctx context.Context, name string, data []byte) error {
	return d.put(ctx, name, data, func(tmp string) error {
		if err := d.root.Link(tmp, name); err != nil {
			return err
		}
		return d.root.Remove(tmp)
	})
}

// Replace implements Store.
func (d *Dir) Replace(ctx context.Context, name string, old, data []byte) error {
	return d.put(ctx, name, data, func(tmp string) error {
		unlock, err := d.lock()
		if err != nil {
			return err
		}
		defer unlock()
		there, err := holds(ctx, d, name, old)
		if err == nil && !there {
			err = ErrChanged
		}
		if err != nil {
			return err
		}
		return d.root.Rename(tmp, name)
	})
}

// lock keeps other replacements out, those of other processes too.
func (d *Dir) lock() (unlock func(), err error) {
	f, err := d.root.Open(".")
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() { f.Close() }, nil
}

// holds reports whether the object of that name holds data, or with nil, is
// absent.
func holds(ctx context.Context, s Store, name string, data []byte) (bool, error) {
	there, err := get(ctx, s, name, int64(len(data)))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return data == nil, nil
	case errors.Is(err, errTooLarge):
		return false, nil
	case err != nil:
		return false, err
	}
	return data != nil && bytes.Equal(there, data), nil
}

func (d *Dir) put(ctx context.Context, name string, data []byte, place func(tmp string) error) error {
	return d.putBy(ctx, name, func() error {
		tmp, err := d.write(name, data)
		if err == nil {
			err = place(tmp)
		}
		if err != nil && tmp != "" {
			_ = d.root.Remove(tmp) // the error that matters is the first
		}
		return err
	})
}

// putFile implements linkStore: the object is the file under a second name.
func (d *Dir) putFile(ctx context.Context, name, file string) error {
	return d.putBy(ctx, name, func() error {
		f, err := os.Open(file)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := f.Sync(); err != nil {
			return err
		}
		folder, err := d.root.Open(path.Dir(name))
		if err != nil {
			return err
		}
		defer folder.Close()
		return unix.Linkat(unix.AT_FDCWD, file, int(folder.Fd()), path.Base(name), 0)
	})
}

// putBy makes the folder of the object, calls place, which puts it there, and
// makes its name durable.
func (d *Dir) putBy(ctx context.Context, name string, place func() error) error {
	if err := valid(ctx, name); err != nil {
		return fmt.Errorf("put %q: %w", name, err)
	}
	folder := path.Dir(name)
	if err := d.makeFolder(folder); err != nil {
		return fmt.Errorf("put: %w", err)
	}
	err := place()
	if err == nil {
		err = d.syncFolder(folder)
	}
	if err != nil {
		return fmt.Errorf("put %s: %w", name, err)
	}
	return nil
}

// makeFolder makes a folder and those that it lies in, durably.
func (d *Dir) makeFolder(folder string) error {
	err := d.root.Mkdir(folder, 0o700)
	if folder == "." || errors.Is(err, fs.ErrExist) {
		return nil
	}
	parent := path.Dir(folder)
	if errors.Is(err, fs.ErrNotExist) {
		if err := d.makeFolder(parent); err != nil {
			return err
		}
		if err = d.root.Mkdir(folder, 0o700); errors.Is(err, fs.ErrExist) {
			err = nil // another made it
		}
	}
	if err != nil {
		return err
	}
	return d.syncFolder(parent)
}

// write writes data to a new file beside name, durably.
func (d *Dir) write(name string, data []byte) (tmp string, err error) {
	var f *os.File
	for i := 0; ; i++ {
		tmp = fmt.Sprintf("%s.%d%s", name, i, partial)
		f, err = d.root.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err == nil {
			break
		}
		if !errors.Is(err, fs.ErrExist) || i > 100 {
			return "", err
		}
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	return tmp, errors.Join(err, f.Close())
}

func (d *Dir) syncFolder(folder string) error {
	f, err := d.root.Open(folder)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Get implements Store.
func (d *Dir) Get(ctx context.Context, name string) (io.ReadCloser, error) {
	if err := valid(ctx, name); err != nil {
		return nil, fmt.Errorf("get %q: %w", name, err)
	}
	f, err := d.root.Open(name)
	if err != nil {
		return nil, fmt.Errorf("get: %w", err)
	}
	info, err := f.Stat()
	if err == nil && info.IsDir() {
		err = fs.ErrNotExist
	}
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", name, errors.Join(err, f.Close()))
	}
	return f, nil
}

// List implements Store.
func (d *Dir) List(ctx context.Context, folder string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		names, err := d.list(ctx, folder)
		if err != nil {
			yield("", fmt.Errorf("list: %w", err))
			return
		}
		for _, n := range names {
			if !yield(n, nil) {
				return
			}
		}
	}
}

func (d *Dir) list(ctx context.Context, folder string) ([]string, error) {
	name := strings.TrimSuffix(folder, "/")
	if name == "" {
		name = "."
	}
	if err := valid(ctx, name); err != nil {
		return nil, err
	}
	f, err := d.root.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	entries, err := f.ReadDir(-1)
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		switch {
		case e.IsDir():
			names = append(names, folder+e.Name()+"/")
		case !strings.HasSuffix(e.Name(), partial):
			names = append(names, folder+e.Name())
		}
	}
	return names, nil
}

func valid(ctx context.Context, name string) error {
	if !fs.ValidPath(name) {
		return fs.ErrInvalid
	}
	return ctx.Err()
}
