package statement

import (
	"strings"

	tree "github.com/pganalyze/pg_query_go/v6"
)

// builtInOperators are the operators of PostgreSQL itself, by their symbols.
var builtInOperators = words("!! !~ !~* !~~ !~~* # ## #- #> #>> % & && &< &<| &> * *< *<= *<> *= *> *>= + - -> ->> -|- / < <-> << " +
	"<<= <<| <= <> <@ <^ = > >= >> >>= >^ ? ?# ?& ?- ?-| ?| ?|| @ @-@ @> @? @@ @@@ ^ ^@ | |&> |/ |>> || ||/ ~ ~* ~<=~ ~<~ ~= " +
	"~>=~ ~>~ ~~ ~~*")

// builtInTypes are the types of PostgreSQL itself.
var builtInTypes = words("aclitem any anyarray anycompatible anycompatiblearray anycompatiblemultirange anycompatiblenonarray " +
	"anycompatiblerange anyelement anyenum anymultirange anynonarray anyrange bit bool box bpchar bytea char cid cidr circle " +
	"cstring date datemultirange daterange event_trigger fdw_handler float4 float8 gtsvector index_am_handler inet int2 " +
	"int2vector int4 int4multirange int4range int8 int8multirange int8range internal interval json jsonb jsonpath " +
	"language_handler line lseg macaddr macaddr8 money name numeric nummultirange numrange oid oidvector path pg_lsn " +
	"pg_snapshot point polygon record refcursor regclass regcollation regconfig regdictionary regnamespace regoper " +
	"regoperator regproc regprocedure regrole regtype table_am_handler text tid time timestamp timestamptz timetz trigger " +
	"tsm_handler tsmultirange tsquery tsrange tstzmultirange tstzrange tsvector txid_snapshot unknown uuid varbit varchar " +
	"void xid xid8 xml")

func words(list string) map[string]bool {
	m := make(map[string]bool)
	for _, w := range strings.Fields(list) {
		m[w] = true
	}
	return m
}

// operatorName takes an operator that is applied.
func (b *builder) operatorName(parts []*tree.Node) {
	switch o := named(parts); {
	case o.Name == "", o.Schema == "pg_catalog":
	case o.Schema != "":
		b.operator(o.String())
	case isWord(o.Name):
		for _, symbol := range []string{"<", "<=", ">", ">="} {
			b.symbol(symbol)
		}
	case builtInOperators[o.Name]:
		b.symbol(o.Name)
	default:
		b.operator(o.Name)
	}
}

// isWord reports whether an operator is one of the grammar's own, such as
// BETWEEN.
func isWord(name string) bool { return name[0] >= 'A' && name[0] <= 'Z' }

// typeName takes a type that is named.
func (b *builder) typeName(t *tree.TypeName) {
	o := named(t.GetNames())
	if o.Name == "" || o.Schema == "pg_catalog" || o.Schema == "" && builtInTypes[o.Name] {
		return
	}
	b.typeOf(o.String())
}
