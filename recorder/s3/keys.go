package s3

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/minio/minio-go/v7/pkg/credentials"
)

// KeysFor is for how long keys are used before they are asked for again. That
// is done at once when the service has refused a request.
const KeysFor = 10 * time.Second

// Keys are a credentials.Provider of keys that may change.
type keys struct {
	read  func() (accessKey, secretKey, sessionToken string, err error)
	until atomic.Int64 // nanoseconds since 1970
}

// RetrieveWithCredContext implements credentials.Provider.
func (k *keys) RetrieveWithCredContext(*credentials.CredContext) (credentials.Value, error) {
	return k.Retrieve()
}

// Retrieve implements credentials.Provider.
func (k *keys) Retrieve() (v credentials.Value, err error) {
	v.SignerType = credentials.SignatureV4
	if v.AccessKeyID, v.SecretAccessKey, v.SessionToken, err = k.read(); err != nil {
		return credentials.Value{}, fmt.Errorf("read the store's keys: %w", err)
	}
	k.until.Store(time.Now().Add(KeysFor).UnixNano())
	return v, nil
}

// IsExpired implements credentials.Provider.
func (k *keys) IsExpired() bool { return time.Now().UnixNano() > k.until.Load() }

// A keysTransport notes when keys are refused.
type keysTransport struct {
	http.RoundTripper
	keys *keys
}

// RoundTrip implements http.RoundTripper.
func (t keysTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := t.RoundTripper.RoundTrip(r)
	if err == nil && res.StatusCode == http.StatusForbidden {
		t.keys.until.Store(0)
	}
	return res, err
}
