package config

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"gatehouse/core/event"
)

// The patterns of config.go's tags.
const (
	gatePattern   = `^[a-z0-9][a-z0-9.-]{0,62}$`
	digestPattern = `^[0-9a-f]{64}$`
)

// A Duration is written as in Go: "5m", "1h30m", "500ms".
type Duration time.Duration

const durationPattern = `^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`

// UnmarshalText sets d from its written form.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	if err == nil && v < 0 {
		err = errors.New("a negative duration")
	}
	*d = Duration(v)
	return err
}

// A Size is a number of bytes, written with a binary unit: "64MiB".
type Size int64

const sizePattern = `^[1-9][0-9]*(B|KiB|MiB|GiB|TiB)$`

// UnmarshalText sets s from its written form.
func (s *Size) UnmarshalText(b []byte) error {
	v, err := humanize.ParseBytes(string(b))
	if err == nil && v > 1<<50 {
		err = errors.New("more than 1024TiB")
	}
	*s = Size(v)
	return err
}

// A Treatment is what is done to the values of a protected column.
type Treatment event.Treatment

const treatmentPattern = `^(null|redact|hash|fake|keep_last:[1-9][0-9]{0,2})$`

// UnmarshalText sets t from its written form.
func (t *Treatment) UnmarshalText(b []byte) error {
	parsed, err := event.ParseTreatment(string(b))
	*t = Treatment(parsed)
	return err
}

// A Path names a file. A relative one starts at the configuration file's
// directory.
type Path string

// A Secret refers to a secret: "env:NAME" to an environment variable,
// "file:PATH" to a file, of which a line end at the end does not count.
type Secret string

const secretPattern = `^(env:[A-Za-z_][A-Za-z0-9_]*|file:.+)$`

// Read returns what s refers to, nil for no reference. Errors name the
// reference and never the value.
func (s Secret) Read() ([]byte, error) {
	if s == "" {
		return nil, nil
	}
	kind, name, _ := strings.Cut(string(s), ":")
	var v []byte
	switch kind {
	case "env":
		text, ok := os.LookupEnv(name)
		if !ok {
			return nil, fmt.Errorf("environment variable %s is not set", name)
		}
		v = []byte(text)
	case "file":
		var err error
		if v, err = os.ReadFile(name); err != nil {
			return nil, fmt.Errorf("read secret: %w", err)
		}
		v = bytes.TrimRight(v, "\r\n")
	default:
		return nil, errors.New("a secret is a reference: env:NAME or file:PATH")
	}
	if len(v) == 0 {
		return nil, fmt.Errorf("%s is empty", s)
	}
	return v, nil
}

// within returns p as seen from the working directory.
func (p Path) within(dir string) Path {
	if p == "" || filepath.IsAbs(string(p)) {
		return p
	}
	return Path(filepath.Join(dir, string(p)))
}

func (s Secret) within(dir string) Secret {
	if path, ok := strings.CutPrefix(string(s), "file:"); ok {
		return "file:" + Secret(Path(path).within(dir))
	}
	return s
}
