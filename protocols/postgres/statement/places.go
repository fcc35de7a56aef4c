package statement

import (
	"strconv"
	"strings"

	tree "github.com/pganalyze/pg_query_go/v6"

	"gatehouse/core/event"
)

// Where operators and functions of JSON look in a document, as far as their text
// says it: the keys on the way, with event.Element for an array's elements. There
// are several ways where the document decides which it is, and none where the text
// leaves it open. What it cannot say, the path of a parameter for one, makes it all
// of the document.

// maxPlaces is how many ways are told apart.
const maxPlaces = 16

// operated are the places that an operator looks at.
func (t *translator) operated(x *tree.A_Expr) [][]string {
	if len(x.GetName()) == 0 || x.GetKind() != tree.A_Expr_Kind_AEXPR_OP {
		return nil
	}
	switch text(x.GetName()[len(x.GetName())-1]) {
	case "->", "->>":
		t.literal = true
		if key, is := stringOf(x.GetRexpr(), "text"); is {
			return [][]string{{key}}
		}
		if _, is := numberOf(x.GetRexpr()); is {
			return [][]string{{event.Element}}
		}
	case "#>", "#>>":
		t.literal = true
		return waysOf(keysOf(x.GetRexpr()))
	case "@?":
		t.literal = true
		return jsonPath(x.GetRexpr())
	}
	return nil
}

// extracting are the places that a function looks at in its first argument.
func (t *translator) extracting(f *tree.FuncCall) [][]string {
	args := f.GetArgs()
	if len(args) == 0 || f.GetFuncVariadic() {
		return nil
	}
	switch routine(f.GetFuncname()) {
	case "json_extract_path", "json_extract_path_text", "jsonb_extract_path", "jsonb_extract_path_text":
		t.literal = true
		return waysOf(stringsOf(args[1:]))
	case "json_array_elements", "json_array_elements_text", "jsonb_array_elements", "jsonb_array_elements_text":
		return [][]string{{event.Element}}
	case "jsonb_path_query", "jsonb_path_query_first", "jsonb_path_query_array", "jsonb_path_exists",
		"jsonb_path_query_tz", "jsonb_path_query_first_tz", "jsonb_path_query_array_tz", "jsonb_path_exists_tz":
		t.literal = true
		if len(args) > 1 {
			return jsonPath(args[1])
		}
	}
	return nil
}

// subscripted are the places of doc['key'] and doc[1].
func (t *translator) subscripted(x *tree.A_Indices) [][]string {
	if x.GetIsSlice() || x.GetLidx() != nil {
		return nil
	}
	t.literal = true
	if key, is := stringOf(x.GetUidx(), "text"); is {
		return waysOf([]string{key}, true)
	}
	if n, is := numberOf(x.GetUidx()); is {
		return waysOf([]string{strconv.Itoa(n)}, true)
	}
	return nil
}

// stringOf is a string constant, as it is or as of a type.
func stringOf(n *tree.Node, typed string) (string, bool) {
	if c := n.GetTypeCast(); c != nil {
		if !isType(c.GetTypeName(), typed, false) {
			return "", false
		}
		n = c.GetArg()
	}
	s, is := n.GetAConst().GetVal().(*tree.A_Const_Sval)
	if !is {
		return "", false
	}
	return s.Sval.GetSval(), true
}

// isType is whether a type is one of PostgreSQL's own by its name, or an array of it.
func isType(t *tree.TypeName, name string, many bool) bool {
	o := named(t.GetNames())
	return o.Name == name && (o.Schema == "" || o.Schema == "pg_catalog") && (len(t.GetArrayBounds()) > 0) == many
}

// numberOf is an integer constant. Parsers give a negative one, or what a view's
// definition has, other forms, which do not count.
func numberOf(n *tree.Node) (int, bool) {
	v, is := n.GetAConst().GetVal().(*tree.A_Const_Ival)
	if !is {
		return 0, false
	}
	return int(v.Ival.GetIval()), true
}

// stringsOf are the texts of constants.
func stringsOf(list []*tree.Node) (keys []string, all bool) {
	for _, n := range list {
		key, is := stringOf(n, "text")
		if !is {
			return nil, false
		}
		keys = append(keys, key)
	}
	return keys, true
}

// keysOf are the elements of an array of texts: '{a,b}' or ARRAY['a', 'b'].
func keysOf(n *tree.Node) (keys []string, all bool) {
	if c := n.GetTypeCast(); c != nil {
		if !isType(c.GetTypeName(), "text", true) {
			return nil, false
		}
		n = c.GetArg()
	}
	if a := n.GetAArrayExpr(); a != nil {
		return stringsOf(a.GetElements())
	}
	written, is := stringOf(n, "")
	inner, opens := strings.CutPrefix(written, "{")
	inner, closes := strings.CutSuffix(inner, "}")
	if !is || !opens || !closes || inner == "" {
		return nil, false
	}
	for key := range strings.SplitSeq(inner, ",") {
		if !isPlainKey(key) || strings.EqualFold(key, "null") {
			return nil, false
		}
		keys = append(keys, key)
	}
	return keys, true
}

// isPlainKey is whether a key stands for itself in an array and in a path.
func isPlainKey(key string) bool {
	for i := range len(key) {
		if c := key[i]; c != '_' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			return false
		}
	}
	return key != ""
}

// waysOf are the ways that keys may stand for: one with a digit may be a number,
// which takes an element of an array.
func waysOf(keys []string, all bool) [][]string {
	if !all || len(keys) == 0 {
		return nil
	}
	ways := [][]string{{}}
	for _, key := range keys {
		next := further(ways, key)
		if strings.ContainsAny(key, "0123456789") {
			next = append(next, further(ways, event.Element)...)
		}
		if ways = next; len(ways) > maxPlaces {
			return nil
		}
	}
	return ways
}

// further are ways with a key behind each.
func further(ways [][]string, key string) (all [][]string) {
	for _, way := range ways {
		all = append(all, append(way[:len(way):len(way)], key))
	}
	return all
}

// jsonPath are the places that a path of SQL/JSON selects which is made of keys and
// elements alone: '$.a.b[*]'. In its lax mode an array's elements are taken where a
// key is asked for, and a value that is no array where an element is.
func jsonPath(n *tree.Node) [][]string {
	path, is := stringOf(n, "jsonpath")
	path = strings.TrimSpace(path)
	if rest, strict := strings.CutPrefix(path, "strict "); strict {
		path = rest
	} else {
		path = strings.TrimPrefix(path, "lax ")
	}
	rest, opens := strings.CutPrefix(strings.TrimSpace(path), "$")
	if !is || !opens || rest == "" {
		return nil
	}
	ways := [][]string{{}}
	for rest != "" {
		switch rest[0] {
		case '.':
			end := 1 + strings.IndexAny(rest[1:]+".", ".[")
			key := rest[1:end]
			if inner, quoted := strings.CutPrefix(key, `"`); quoted {
				key = strings.TrimSuffix(inner, `"`)
			}
			if rest = rest[end:]; !isPlainKey(key) {
				return nil
			}
			ways = further(append(ways, further(ways, event.Element)...), key)
		case '[':
			end := strings.IndexByte(rest, ']')
			if end < 0 {
				return nil
			}
			index := rest[1:end]
			if _, err := strconv.Atoi(index); err != nil && index != "*" {
				return nil
			}
			rest = rest[end+1:]
			ways = append(ways, further(ways, event.Element)...)
		default:
			return nil
		}
		if len(ways) > maxPlaces {
			return nil
		}
	}
	return ways
}
