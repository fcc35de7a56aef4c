// Package s3 stores recordings in a bucket of any S3-compatible service. It
// alone imports the S3 client.
package s3

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"gatehouse/recorder"
)

var _ recorder.LockStore = (*Store)(nil)

// attempts is how often the client tries a request before it gives up. The
// recorder tries again by itself.
const attempts = 3

// Options say where the bucket is and how to use it.
type Options struct {
	// Endpoint is the service's URL: "https://s3.eu-central-1.amazonaws.com".
	Endpoint string
	// Region is asked of the service if it is empty.
	Region string
	Bucket string
	// Prefix goes before every name, with a slash between: two gates in one
	// bucket have different ones.
	Prefix       string
	AccessKey    string
	SecretKey    string
	SessionToken string // of temporary credentials
	// Credentials, if not nil, returns the keys in place of the three above.
	// It is asked again every KeysFor, and after a refusal, so that they can
	// be changed while the store is in use. It is safe for concurrent use.
	Credentials func() (accessKey, secretKey, sessionToken string, err error)
	// Transport makes the requests; nil is the client's default.
	Transport http.RoundTripper
	// Logger gets what the service cannot do. Nil discards it.
	Logger *slog.Logger
}

// A Store is a bucket, or the part of one under a prefix. It is safe for
// concurrent use.
type Store struct {
	c      minio.Core
	bucket string
	prefix string // "" or ends in a slash
	log    *slog.Logger
	// unconditional is whether the service refused a conditional request.
	unconditional atomic.Bool
}

// Open returns the store. It makes no request; Check does.
func Open(o Options) (*Store, error) {
	u, err := url.Parse(o.Endpoint)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || strings.Trim(u.Path, "/") != "" {
		return nil, fmt.Errorf("open s3: Endpoint %q is not an http or https URL", o.Endpoint)
	}
	if o.Bucket == "" {
		return nil, errors.New(`open s3: Bucket cannot be ""`)
	}
	prefix := strings.Trim(o.Prefix, "/")
	if prefix != "" && !fs.ValidPath(prefix) {
		return nil, fmt.Errorf("open s3: Prefix %q is not a path", o.Prefix)
	}
	if o.Credentials == nil {
		o.Credentials = func() (string, string, string, error) { return o.AccessKey, o.SecretKey, o.SessionToken, nil }
	}
	secure := u.Scheme == "https"
	if o.Transport == nil {
		if o.Transport, err = minio.DefaultTransport(secure); err != nil {
			return nil, fmt.Errorf("open s3: %w", err)
		}
	}
	keys := &keys{read: o.Credentials}
	c, err := minio.NewCore(u.Host, &minio.Options{
		Creds:      credentials.New(keys),
		Secure:     secure,
		Region:     o.Region,
		Transport:  keysTransport{o.Transport, keys},
		MaxRetries: attempts,
	})
	if err != nil {
		return nil, fmt.Errorf("open s3: %w", err)
	}
	if prefix != "" {
		prefix += "/"
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Store{c: *c, bucket: o.Bucket, prefix: prefix, log: o.Logger}, nil
}

// Check reports whether the bucket is there and can be written. It leaves
// nothing behind.
func (s *Store) Check(ctx context.Context) error {
	ok, err := s.c.BucketExists(ctx, s.bucket)
	if err != nil {
		return fmt.Errorf("check bucket %s: %w", s.bucket, err)
	}
	if !ok {
		return fmt.Errorf("check bucket %s: it does not exist", s.bucket)
	}
	// An upload that is begun and given up shows that writing is allowed.
	name := s.prefix + "check"
	id, err := s.c.NewMultipartUpload(ctx, s.bucket, name, minio.PutObjectOptions{})
	if err == nil {
		err = s.c.AbortMultipartUpload(ctx, s.bucket, name, id)
	}
	if err != nil {
		return fmt.Errorf("check bucket %s: write: %w", s.bucket, err)
	}
	return nil
}

// Remarks says what of the bucket works and may surprise: for people. It leaves
// nothing behind.
func (s *Store) Remarks(ctx context.Context) ([]string, error) {
	var remarks []string
	for _, ask := range []func(context.Context) (string, error){s.defaultRetention, s.conditions} {
		r, err := ask(ctx)
		if err != nil {
			return remarks, fmt.Errorf("check bucket %s: %w", s.bucket, err)
		}
		if r != "" {
			remarks = append(remarks, r)
		}
	}
	return remarks, nil
}

// defaultRetention says what the bucket's own retention does to what has none.
func (s *Store) defaultRetention(ctx context.Context) (string, error) {
	_, mode, validity, unit, err := s.c.GetObjectLockConfig(ctx, s.bucket)
	switch code := minio.ToErrorResponse(err).Code; {
	case code == "ObjectLockConfigurationNotFoundError", code == minio.NotImplemented:
		return "", nil
	case code == minio.AccessDenied:
		return "whether the bucket has a default retention cannot be told: these keys may not read its object lock (s3:GetBucketObjectLockConfiguration)", nil
	case err != nil:
		return "", fmt.Errorf("read its object lock: %w", err)
	case mode == nil || validity == nil || unit == nil:
		return "", nil
	}
	return fmt.Sprintf("the bucket's default retention locks every object for %d %s in mode %s for which recording.retention asks no lock. "+
		"One is the log's checkpoint, which is replaced every second while there is something to record: all its older versions stay for as long",
		*validity, strings.ToLower(string(*unit)), strings.ToLower(string(*mode))), nil
}

// conditions says so if the service knows no conditional replacement.
func (s *Store) conditions(ctx context.Context) (string, error) {
	var o minio.PutObjectOptions
	o.SetMatchETag(strings.Repeat("0", 32)) // of no object
	name := probeFolder + "condition"
	err := s.put(ctx, name, []byte("Written by gatehouse check; the service ignores If-Match.\n"), o)
	switch code := minio.ToErrorResponse(err).Code; {
	case err == nil:
		_ = s.c.RemoveObject(ctx, s.bucket, s.prefix+name, minio.RemoveObjectOptions{}) // it does no harm
		return noConditions, nil
	case code == minio.NotImplemented:
		return noConditions, nil
	case code == minio.PreconditionFailed || code == minio.NoSuchKey:
		return "", nil
	}
	return "", fmt.Errorf("try a conditional request: %w", err)
}

// Put implements recorder.Store.
func (s *Store) Put(ctx context.Context, name string, data []byte) error {
	return s.putNew(ctx, name, data, minio.PutObjectOptions{})
}

func (s *Store) putNew(ctx context.Context, name string, data []byte, o minio.PutObjectOptions) error {
	o.SetMatchETagExcept("*") // If-None-Match: *
	err := s.put(ctx, name, data, o)
	switch minio.ToErrorResponse(err).Code {
	case minio.PreconditionFailed, "ConditionalRequestConflict":
		err = fs.ErrExist
	}
	if err != nil {
		return fmt.Errorf("put %s: %w", name, err)
	}
	return nil
}

// Replace implements recorder.Store. Where the service does not know conditional
// requests (If-Match) it looks first, and replaces then: what another stored in
// between is lost. That is logged once.
func (s *Store) Replace(ctx context.Context, name string, old, data []byte) error {
	if err := s.replace(ctx, name, old, data); err != nil {
		return fmt.Errorf("replace %s: %w", name, err)
	}
	return nil
}

func (s *Store) replace(ctx context.Context, name string, old, data []byte) error {
	if old == nil {
		err := s.Put(ctx, name, data)
		if errors.Is(err, fs.ErrExist) {
			err = recorder.ErrChanged
		}
		return err
	}
	etag, err := s.etagOf(ctx, name, old)
	if err != nil {
		return err
	}
	var o minio.PutObjectOptions
	if !s.unconditional.Load() {
		o.SetMatchETag(etag)
	}
	err = s.put(ctx, name, data, o)
	switch code := minio.ToErrorResponse(err).Code; code {
	case minio.PreconditionFailed, "ConditionalRequestConflict", minio.NoSuchKey:
		return recorder.ErrChanged
	case minio.NotImplemented:
		if !s.unconditional.Swap(true) {
			s.log.Warn("s3: "+noConditions, "bucket", s.bucket)
			return s.put(ctx, name, data, minio.PutObjectOptions{})
		}
	}
	return err
}

// noConditions says what a service does not do.
const noConditions = "the service does not replace objects on a condition (If-Match): " +
	"two gates with one key and one prefix can overwrite each other's checkpoint before one of them notices, and verify finds what was lost"

// etagOf returns the ETag of an object that holds data.
func (s *Store) etagOf(ctx context.Context, name string, data []byte) (string, error) {
	if !fs.ValidPath(name) {
		return "", fs.ErrInvalid
	}
	r, info, _, err := s.c.GetObject(ctx, s.bucket, s.prefix+name, minio.GetObjectOptions{})
	if err != nil && minio.ToErrorResponse(err).Code == minio.NoSuchKey {
		return "", recorder.ErrChanged
	}
	if err != nil {
		return "", err
	}
	defer r.Close()
	there, err := io.ReadAll(io.LimitReader(r, int64(len(data))+1))
	if err == nil && !bytes.Equal(there, data) {
		err = recorder.ErrChanged
	}
	return info.ETag, err
}

func (s *Store) put(ctx context.Context, name string, data []byte, o minio.PutObjectOptions) error {
	if !fs.ValidPath(name) {
		return fs.ErrInvalid
	}
	o.ContentType = contentType(name)
	sum, md := sha256.Sum256(data), md5.Sum(data) // S3 demands an MD5 of what is locked
	info, err := s.c.PutObject(ctx, s.bucket, s.prefix+name, bytes.NewReader(data), int64(len(data)),
		base64.StdEncoding.EncodeToString(md[:]), hex.EncodeToString(sum[:]), o)
	if err != nil {
		return err
	}
	if info.ETag == hex.EncodeToString(md[:]) {
		return nil
	}
	return s.readBack(ctx, name, data)
}

// readBack tells whether an object was stored, where the answer to that does
// not name what was sent. So it is in a bucket that encrypts under a key of its
// own, and where something between here and the service answers for it.
func (s *Store) readBack(ctx context.Context, name string, data []byte) error {
	r, err := s.Get(ctx, name)
	if err != nil {
		return fmt.Errorf("the service says that it is stored: %w", err)
	}
	defer r.Close()
	there, err := io.ReadAll(io.LimitReader(r, int64(len(data))+1))
	if err == nil && !bytes.Equal(there, data) {
		err = errors.New("the service says that it is stored, and returns something else")
	}
	return err
}

// contentType is what c2sp.org/tlog-tiles asks for, and for people to look at.
func contentType(name string) string {
	switch {
	case strings.HasSuffix(name, "/checkpoint"):
		return "text/plain; charset=utf-8"
	case strings.HasSuffix(name, ".json"):
		return "application/json"
	}
	return "application/octet-stream"
}

// Get implements recorder.Store.
func (s *Store) Get(ctx context.Context, name string) (io.ReadCloser, error) {
	if !fs.ValidPath(name) {
		return nil, fmt.Errorf("get %q: %w", name, fs.ErrInvalid)
	}
	return s.get(ctx, name, minio.GetObjectOptions{})
}

func (s *Store) get(ctx context.Context, name string, o minio.GetObjectOptions) (io.ReadCloser, error) {
	r, _, _, err := s.c.GetObject(ctx, s.bucket, s.prefix+name, o)
	if err != nil && minio.ToErrorResponse(err).Code == minio.NoSuchKey {
		err = fs.ErrNotExist
	}
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", name, err)
	}
	return r, nil
}

// List implements recorder.Store.
func (s *Store) List(ctx context.Context, folder string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel() // ends the client's work if the caller stops early
		for o := range s.c.ListObjectsIter(ctx, s.bucket, minio.ListObjectsOptions{Prefix: s.prefix + folder}) {
			if o.Err != nil {
				yield("", fmt.Errorf("list %q: %w", folder, o.Err))
				return
			}
			if !yield(strings.TrimPrefix(o.Key, s.prefix), nil) {
				return
			}
		}
	}
}
