package peers

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// MissingError says that a program is not on this machine.
type MissingError struct {
	Program string
}

func (e *MissingError) Error() string {
	return e.Program + " is not installed: run `go tool task setup`"
}

// Program finds a program by name and returns its path: what the variable
// GATEHOUSE_<NAME> names, else the checkout's .cache/bin, else PATH, else
// Debian's directories of PostgreSQL programs and of daemons. The error is a
// *MissingError when there is none.
func Program(name string) (string, error) {
	variable := "GATEHOUSE_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
	if path := os.Getenv(variable); path != "" {
		return executable(path)
	}
	if cache, ok := cacheDir(); ok {
		if path, err := executable(filepath.Join(cache, "bin", name)); err == nil {
			return path, nil
		}
	}
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	places, err := filepath.Glob(filepath.Join("/usr/lib/postgresql/*/bin", name))
	if err != nil {
		return "", fmt.Errorf("find %s: %w", name, err)
	}
	slices.Reverse(places) // the newest version first
	for _, path := range append(places, filepath.Join("/usr/sbin", name)) {
		if path, err := executable(path); err == nil {
			return path, nil
		}
	}
	return "", &MissingError{Program: name}
}

// PostgresBin finds the directory with a major version's initdb and postgres:
// what the variable GATEHOUSE_POSTGRES_<version> names, else
// .cache/postgresql/<version>/bin, else the directory in PATH whose postgres
// has that version, else Debian's. The error is a *MissingError when there is
// none.
func PostgresBin(version int) (string, error) {
	number := strconv.Itoa(version)
	if dir := os.Getenv("GATEHOUSE_POSTGRES_" + number); dir != "" {
		_, err := executable(filepath.Join(dir, "postgres"))
		return dir, err
	}
	if cache, ok := cacheDir(); ok {
		dir := filepath.Join(cache, "postgresql", number, "bin")
		if _, err := executable(filepath.Join(dir, "postgres")); err == nil {
			return dir, nil
		}
	}
	if path, err := exec.LookPath("postgres"); err == nil && hasVersion(path, number) {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			return filepath.Dir(path), nil
		}
	}
	dir := filepath.Join("/usr/lib/postgresql", number, "bin")
	if _, err := executable(filepath.Join(dir, "postgres")); err == nil {
		return dir, nil
	}
	return "", &MissingError{Program: "PostgreSQL " + number}
}

func hasVersion(postgres, version string) bool {
	out, err := exec.Command(postgres, "--version").Output()
	return err == nil && strings.Contains(string(out), " "+version+".")
}

func executable(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("find program: %w", err)
	}
	if info.IsDir() || info.Mode()&0o111 == 0 {
		return "", fmt.Errorf("find program: %s is not executable", path)
	}
	return path, nil
}

// cacheDir finds the .cache of the checkout that the working directory is in.
func cacheDir() (string, bool) {
	dir, err := os.Getwd()
	if err != nil {
		return "", false
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(dir, ".cache"), true
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", false
		}
		dir = parent
	}
}
