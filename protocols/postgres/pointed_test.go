package postgres_test

import (
	_ "embed"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

//go:embed testdata/property/statements.txt
var pointedStatements string

// pointedTo has the statements of testdata/property/statements.txt, and what is
// named in it.
var pointedTo = func() (p struct {
	statements []string
	named      map[string]string
}) {
	p.named = map[string]string{}
	definition := regexp.MustCompile(`^([a-z]+): (.*)$`)
	for line := range strings.Lines(pointedStatements) {
		line = strings.TrimSuffix(line, "\n")
		if m := definition.FindStringSubmatch(line); m != nil {
			p.named[m[1]] = m[2]
		} else if line != "" && line[0] != '#' {
			p.statements = append(p.statements, line)
		}
	}
	return p
}()

// pointed returns a statement in which a protected column has a part in one place
// only: each of testdata/property/statements.txt in turn.
func (g *generator) pointed() string {
	if len(g.turns) == 0 {
		g.turns = g.Perm(len(pointedTo.statements))
	}
	template, keyless := strings.CutPrefix(pointedTo.statements[g.turns[0]], "~")
	g.turns, g.keyless = g.turns[1:], keyless
	return g.expanded(template, map[string]string{})
}

// expanded is a template with something in each of its places: of several, each in
// turn. Sources that it names are in of, once they are chosen.
func (g *generator) expanded(template string, of map[string]string) string {
	before, rest, more := strings.Cut(template, "{")
	if !more {
		return template
	}
	depth, from := 1, 0
	var choices []string
	i := 0
	for ; depth > 0; i++ {
		switch c := rest[i]; {
		case c == '{':
			depth++
		case c == '}':
			depth--
		}
		if depth == 0 || depth == 1 && rest[i] == ';' {
			choices = append(choices, rest[from:i])
			from = i + 1
		}
	}
	var place string
	if name := choices[0]; len(choices) > 1 {
		list := rest[:i]
		if len(g.choices[list]) == 0 {
			g.choices[list] = g.Perm(len(choices))
		}
		next := g.choices[list][0]
		g.choices[list] = g.choices[list][1:]
		place = g.expanded(choices[next], of)
	} else if named, is := pointedTo.named[name]; is {
		place = g.expanded(named, of)
	} else if name == "within" {
		place = g.within()
	} else if name == "n" {
		place = fmt.Sprint(2 + g.IntN(9))
	} else if i := slices.Index([]string{"of", "key", "label", "secret"}, strings.TrimSuffix(name, "2")); i >= 0 {
		if of[name] == "" {
			g.hide(of, name[len(strings.TrimSuffix(name, "2")):])
		}
		place = of[name]
	} else {
		panic("nothing is called " + name)
	}
	return before + place + g.expanded(rest[i:], of)
}

// within returns an expression of the documents f.doc of files, or of the part of
// them that a view shows by that name.
func (g *generator) within() string {
	of := func() string {
		return oneOf(g, "f.doc", "f.doc", "f.doc", "f.doc::jsonb", "(f.doc || '{}')", "coalesce(f.doc -> 'b', f.doc)", "jsonb_build_object('a', f.doc -> 'b', 'c', f.doc -> 'a')", "jsonb_set(f.doc, '{a}', f.doc -> 'b')",
			"(SELECT u.d FROM (SELECT f.doc AS d, 1 AS n UNION ALL SELECT jsonb_build_object('a', f.doc #> '{b,secret}'), 2) u ORDER BY u.n LIMIT 1 OFFSET "+oneOf(g, "0", "1")+")")
	}
	doc := of()
	return "(" + oneOf(g, doc+" ->> 'a'", doc+" -> 'a'", doc+" -> 'b' ->> 'c'", doc+" #>> '{b,c}'", doc+" ->> 'secret'", doc+" -> 'a' ->> 'secret'", doc+" ->> 'c'", doc+" -> 'b' -> 'secret'", doc+" #> '{b,secret}'", doc+" #>> ARRAY['b', 'secret']",
		doc+" ->> 'b'", "("+doc+")['b']['c']", "("+doc+")['b']['secret']", "("+doc+")['list'][0]['n']", doc+" #>> '{list,1,secret}'", doc+" -> 'list' -> 1 ->> 'n'", doc+" -> 'list' -> 0 -> 'secret'",
		"jsonb_path_query_first("+doc+", '$.list.n')", "jsonb_path_query_first("+doc+", '$.list.secret')", "jsonb_path_query_array("+doc+", '$.list[*].n')", "jsonb_path_query_first("+doc+", '$.b[0].secret')",
		doc+" @? '$.b.secret'", doc+" @? '$.b ? (@.secret > 5)'", "jsonb_extract_path_text("+doc+", 'b', 'c')", "jsonb_extract_path("+doc+", 'b')", "length("+doc+" ->> 'a')",
		"(SELECT string_agg(e ->> 'n', ',' ORDER BY e ->> 'n') FROM jsonb_array_elements("+doc+" -> 'list') e)", "(SELECT string_agg(e ->> 'secret', ',' ORDER BY e ->> 'n') FROM jsonb_array_elements("+doc+" -> 'list') e)",
		"JSON_VALUE("+doc+", '$.b.c')", "JSON_VALUE("+doc+", '$.b.secret')", "JSON_QUERY("+doc+", '$.list')") + ")::text"
}

// hide chooses a source with a key, a column that is clean and one that is
// protected, a number.
func (g *generator) hide(of map[string]string, which string) {
	s := oneOf(g,
		source{"people", "id", columnsOf("name t, secret_n n")},
		source{"people", "id", columnsOf("name t, secret_n n")},
		source{"items", "id", columnsOf("tag t, secret_n n")},
		source{"parts", "id", columnsOf("label t, secret_n n")},
		source{"all_people", "id", columnsOf("name t, pin n")},
		source{"(SELECT id, name AS word, secret_n AS hid FROM people)", "id", columnsOf("word t, hid n")},
		source{"(SELECT id, tag AS word, secret_n + 1 AS hid FROM items)", "id", columnsOf("word t, hid n")})
	s.alias += " " + g.name("h")
	of["of"+which] = s.alias
	for i, name := range []string{s.key, s.columns[0].name, s.columns[1].name} {
		of[[]string{"key", "label", "secret"}[i]+which] = s.known() + "." + name
	}
}
