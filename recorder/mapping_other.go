//go:build !linux

package recorder

import (
	"errors"
	"os"
)

// Elsewhere nothing is mapped: no call makes sure that pages can be written to.

func mapFile(*os.File, int64) ([]byte, error) { return nil, errors.ErrUnsupported }
func populate([]byte) error                   { return errors.ErrUnsupported }
func unmapFile([]byte) error                  { return nil }
