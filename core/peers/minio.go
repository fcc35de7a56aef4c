package peers

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"syscall"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// MinIO is a running S3-compatible object store, spoken to over plain HTTP.
type MinIO struct {
	Port      int
	AccessKey string
	SecretKey string
	process   *process
}

// StartMinIO starts a server with one drive and no buckets. It unsets
// AWS_CA_BUNDLE in the calling process, because S3 clients obey it.
func StartMinIO(ctx context.Context) (*MinIO, error) {
	if err := os.Unsetenv("AWS_CA_BUNDLE"); err != nil {
		return nil, fmt.Errorf("start minio: %w", err)
	}
	program, err := Program("minio")
	if err != nil {
		return nil, err
	}
	return onFreePort(func(port int) (*MinIO, error) {
		dir, err := newDir()
		if err != nil {
			return nil, err
		}
		m := &MinIO{Port: port, AccessKey: "gatehouse", SecretKey: rand.Text()}
		m.process, err = service{
			dir: dir, program: program, stop: syscall.SIGTERM, ready: m.ping, asCaller: true,
			args: []string{"server", "--quiet", "--address", m.Addr(), filepath.Join(dir, "drive")},
			env: []string{
				"MINIO_ROOT_USER=" + m.AccessKey, "MINIO_ROOT_PASSWORD=" + m.SecretKey,
				"MINIO_BROWSER=off", "MINIO_UPDATE=off", "MINIO_CONFIG_DIR=" + filepath.Join(dir, "config"),
			},
		}.start(ctx)
		if err != nil {
			return nil, err
		}
		return m, nil
	})
}

// Close stops the server and removes what it stored. It may be called again.
func (m *MinIO) Close() error { return m.process.close() }

// Addr is the server's host and port.
func (m *MinIO) Addr() string { return address(m.Port) }

// Client makes a client with all rights.
func (m *MinIO) Client() (*minio.Client, error) {
	client, err := minio.New(m.Addr(), &minio.Options{
		Creds: credentials.NewStaticV4(m.AccessKey, m.SecretKey, ""),
	})
	if err != nil {
		return nil, fmt.Errorf("make minio client: %w", err)
	}
	return client, nil
}

// CreateBucket makes a bucket, versioned and able to lock objects if locking.
func (m *MinIO) CreateBucket(ctx context.Context, name string, locking bool) error {
	client, err := m.Client()
	if err != nil {
		return err
	}
	if err := client.MakeBucket(ctx, name, minio.MakeBucketOptions{ObjectLocking: locking}); err != nil {
		return fmt.Errorf("make bucket %s: %w", name, err)
	}
	return nil
}

func (m *MinIO) ping(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+m.Addr()+"/minio/health/ready", nil)
	if err != nil {
		return fmt.Errorf("ask minio: %w", err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("ask minio: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("ask minio: %s", response.Status)
	}
	return nil
}
