package sdk_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The README shows an example that is there, and tested.
func TestReadmeShowsAnExample(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"main.go", "main_test.go"} {
		code, err := os.ReadFile(filepath.Join("..", "examples", "plugins", "block-fact", "go", name))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(readme), "```go\n"+string(code)+"```") {
			t.Errorf("the README has another %s", name)
		}
	}
}
