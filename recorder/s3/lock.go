package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net/http"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"

	"gatehouse/recorder"
)

// PutLocked implements recorder.LockStore.
func (s *Store) PutLocked(ctx context.Context, name string, data []byte, l recorder.Lock) error {
	return s.putNew(ctx, name, data, minio.PutObjectOptions{Mode: mode(l.Mode), RetainUntilDate: l.Until})
}

func mode(m recorder.LockMode) minio.RetentionMode {
	return minio.RetentionMode(strings.ToUpper(string(m)))
}

// Lock implements recorder.LockStore.
func (s *Store) Lock(ctx context.Context, name, version string) (l recorder.Lock, err error) {
	o := minio.StatObjectOptions{VersionID: version}
	info, err := s.c.StatObject(ctx, s.bucket, s.prefix+name, o)
	if code := minio.ToErrorResponse(err).Code; err != nil && (code == minio.NoSuchKey || code == minio.MethodNotAllowed) {
		err = fs.ErrNotExist // the other of a delete marker
	}
	if err != nil {
		return l, fmt.Errorf("read the lock of %s: %w", name, err)
	}
	l.Mode = recorder.LockMode(strings.ToLower(info.Metadata.Get("X-Amz-Object-Lock-Mode")))
	if l.Mode == "" {
		return l, nil
	}
	if l.Until, err = time.Parse(time.RFC3339, info.Metadata.Get("X-Amz-Object-Lock-Retain-Until-Date")); err != nil {
		return l, fmt.Errorf("read the lock of %s: %w", name, err)
	}
	return l, nil
}

// Versions implements recorder.LockStore.
func (s *Store) Versions(ctx context.Context, name string) iter.Seq2[recorder.Version, error] {
	return func(yield func(recorder.Version, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel() // ends the client's work if the caller stops early
		for o := range s.c.ListObjectsIter(ctx, s.bucket, minio.ListObjectsOptions{Prefix: s.prefix + name, WithVersions: true}) {
			switch {
			case o.Err != nil && minio.ToErrorResponse(o.Err).StatusCode == http.StatusNotImplemented:
				return // it keeps none
			case o.Err != nil:
				yield(recorder.Version{}, fmt.Errorf("list the versions of %s: %w", name, o.Err))
				return
			case o.Key != s.prefix+name:
				return // the names are in order
			case !yield(recorder.Version{ID: o.VersionID, Marker: o.IsDeleteMarker}, nil):
				return
			}
		}
	}
}

// GetVersion implements recorder.LockStore.
func (s *Store) GetVersion(ctx context.Context, name, version string) (io.ReadCloser, error) {
	return s.get(ctx, name, minio.GetObjectOptions{VersionID: version})
}

const (
	// probeFolder holds what CheckLock leaves behind.
	probeFolder = "check/"
	// probeFor is for how long. It allows for clocks that differ.
	probeFor = 5 * time.Minute
)

// CheckLock reports whether the bucket really refuses to remove what is locked
// in that mode: it stores a small object that is locked for some minutes and
// tries to remove it. Nobody can remove that object before; the next CheckLock
// does.
func (s *Store) CheckLock(ctx context.Context, name string, m recorder.LockMode) error {
	if err := s.checkLock(ctx, probeFolder+name, m); err != nil {
		return fmt.Errorf("check bucket %s: %w", s.bucket, err)
	}
	return nil
}

func (s *Store) checkLock(ctx context.Context, name string, m recorder.LockMode) error {
	state, _, _, _, err := s.c.GetObjectLockConfig(ctx, s.bucket)
	if minio.ToErrorResponse(err).Code == "ObjectLockConfigurationNotFoundError" {
		state, err = "", nil
	}
	if err != nil {
		return fmt.Errorf("read its object lock: %w", err)
	}
	if state != "Enabled" {
		return fmt.Errorf("object lock is off, and mode %s is asked for: most services allow it for new buckets only", m)
	}
	versioning, err := s.c.GetBucketVersioning(ctx, s.bucket)
	if err != nil {
		return fmt.Errorf("read its versioning: %w", err)
	}
	if !versioning.Enabled() {
		return errors.New("versioning is off, and without it nothing can be locked")
	}
	if err := s.removeProbes(ctx); err != nil {
		return err
	}
	want := recorder.Retention{Mode: m, For: probeFor}.Until(time.Now())
	if err := s.PutLocked(ctx, name, []byte("Written by gatehouse check to see whether the bucket lets it be removed.\n"), want); err != nil {
		return fmt.Errorf("store a locked object: %w", err)
	}
	return s.tryRemoval(ctx, name, want)
}

// tryRemoval compares the lock of an object with what was asked for and tries
// to remove it.
func (s *Store) tryRemoval(ctx context.Context, name string, want recorder.Lock) error {
	info, err := s.c.StatObject(ctx, s.bucket, s.prefix+name, minio.StatObjectOptions{})
	if err != nil {
		return fmt.Errorf("find the object that it just stored: %w", err)
	}
	got, err := s.Lock(ctx, name, info.VersionID)
	if err != nil {
		return err
	}
	var errs []error
	if lacks := got.Lacks(want); lacks != "" {
		errs = append(errs, fmt.Errorf("an object was stored to be locked, and %s", lacks))
	}
	err = s.c.RemoveObject(ctx, s.bucket, s.prefix+name, minio.RemoveObjectOptions{VersionID: info.VersionID})
	if err == nil {
		_, err = s.c.StatObject(ctx, s.bucket, s.prefix+name, minio.StatObjectOptions{VersionID: info.VersionID})
		if err != nil {
			return errors.Join(append(errs, fmt.Errorf("an object that was locked in mode %s until %s could be removed", want.Mode, want.Until.Format(time.RFC3339)))...)
		}
		return errors.Join(errs...)
	}
	switch r := minio.ToErrorResponse(err); {
	case r.Code == "ObjectLocked" || r.StatusCode == http.StatusForbidden || r.StatusCode == http.StatusBadRequest:
		return errors.Join(errs...) // it is refused, as it should be
	}
	return errors.Join(append(errs, fmt.Errorf("try to remove a locked object: %w", err))...)
}

// removeProbes removes what earlier checks left, as far as its time is over.
func (s *Store) removeProbes(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for o := range s.c.ListObjectsIter(ctx, s.bucket, minio.ListObjectsOptions{Prefix: s.prefix + probeFolder, WithVersions: true, Recursive: true}) {
		if o.Err != nil {
			return fmt.Errorf("list what earlier checks left: %w", o.Err)
		}
		if !o.IsDeleteMarker && time.Since(o.LastModified) < 2*probeFor {
			continue // perhaps another check's
		}
		_ = s.c.RemoveObject(ctx, s.bucket, o.Key, minio.RemoveObjectOptions{VersionID: o.VersionID}) // or the next check does
	}
	return nil
}
