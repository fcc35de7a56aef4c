package recorder_test

import (
	"errors"
	"io/fs"
	"testing"

	"gatehouse/recorder"
	"gatehouse/recorder/storetest"
)

func TestDir(t *testing.T) {
	d, err := recorder.OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	storetest.Run(t, d)
}

func TestDirKeepsWithinItself(t *testing.T) {
	d, err := recorder.OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for _, name := range []string{"../a", "/a", "a/../../b", "", "a//b", "."} {
		if err := d.Put(t.Context(), name, nil); err == nil {
			t.Errorf("put %q succeeded", name)
		}
		if _, err := d.Get(t.Context(), name); !errors.Is(err, fs.ErrInvalid) && err == nil {
			t.Errorf("get %q succeeded", name)
		}
	}
}
