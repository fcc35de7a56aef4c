package postgres_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strconv"
	"strings"
	"testing"
)

// The table of refusals in the README names every SQLSTATE that the gate itself
// answers with.
func TestCodesAreDocumented(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(readme), "## What is refused by the gate itself")
	section, _, _ = strings.Cut(section, "\n## ")
	f, err := parser.ParseFile(token.NewFileSet(), "refuse.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	ast.Inspect(f, func(node ast.Node) bool {
		spec, ok := node.(*ast.ValueSpec)
		if !ok || !strings.HasPrefix(spec.Names[0].Name, "code") {
			return true
		}
		n++
		code, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		if err != nil || !strings.Contains(section, code) {
			t.Errorf("%s %s is not in the table of the README: %v", spec.Names[0].Name, code, err)
		}
		return true
	})
	if n < 20 {
		t.Errorf("%d codes were found", n)
	}
}
