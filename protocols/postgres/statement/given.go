package statement

import (
	"strings"

	tree "github.com/pganalyze/pg_query_go/v6"
)

// given is whether a call returns nothing that was stored: one of current_setting
// for a steady setting, or of set_config with a literal, which it returns.
func (t *translator) given(f *tree.FuncCall) bool {
	args := f.GetArgs()
	switch routine(f.GetFuncname()) {
	case "current_setting":
		t.literal = true
		return len(args) > 0 && steadySettings[strings.ToLower(literal(args[0]))]
	case "set_config":
		t.literal = true
		return len(args) == 3 && args[1].GetAConst().GetSval() != nil
	}
	return false
}

// literal returns the text of a constant, or "".
func literal(n *tree.Node) string { return n.GetAConst().GetSval().GetSval() }
