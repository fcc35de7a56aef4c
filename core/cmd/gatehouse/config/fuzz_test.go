package config_test

import (
	"errors"
	"os"
	"testing"

	"gatehouse/core/cmd/gatehouse/config"
)

// A text is a configuration or has problems, each with its place.
func FuzzParse(f *testing.F) {
	example, err := os.ReadFile(examples + "gatehouse.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(example)
	f.Add([]byte("listen: [1, {a: &a [*a]}]\n"))
	f.Add([]byte("a: !!binary x\n? [b]\n: c\n---\nd: e"))
	f.Add([]byte("resources:\n  orders: {host: 127.0.0.1, port: 70000}\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 1<<16 {
			return
		}
		c, err := config.Parse("gatehouse.yaml", b)
		if (c == nil) == (err == nil) {
			t.Errorf("%q: %v, %v", b, c, err)
		}
		var problems config.Problems
		if err != nil && (!errors.As(err, &problems) || len(problems) == 0 || err.Error() == "") {
			t.Errorf("%q: %v", b, err)
		}
	})
}
