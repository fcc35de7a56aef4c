package postgres

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A view's definition as pg_rewrite has it, cut short: in a subquery's target list
// is what is none of the view's.
const viewTree = `({QUERY :commandType 1 :canSetTag true :rtable ({RANGETBLENTRY :alias {ALIAS :aliasname q\ x :colnames <>} ` +
	`:subquery {QUERY :targetList ({TARGETENTRY :expr {VAR :varno 1 :varattno 7} :resno 1 :resname a :resorigtbl 99 :resorigcol 7 :resjunk false})}}) ` +
	`:targetList ({TARGETENTRY :expr {VAR :varno 1 :varattno 3} :resno 1 :resname number :ressortgroupref 0 :resorigtbl 16385 :resorigcol 3 :resjunk false} ` +
	`{TARGETENTRY :expr {OPEXPR :args ({CONST :constvalue 4 [ 16 0 0 0 ]})} :resno 2 :resname :resno :ressortgroupref 0 :resorigtbl 0 :resorigcol 0 :resjunk false} ` +
	`{TARGETENTRY :expr {VAR :varno 1 :varattno -1} :resno 3 :resname \{\)\  :ressortgroupref 0 :resorigtbl 4000000000 :resorigcol -1 :resjunk false} ` +
	`{TARGETENTRY :expr {VAR :varno 1 :varattno 5} :resno 4 :resname j :ressortgroupref 1 :resorigtbl 16385 :resorigcol 5 :resjunk true}) ` +
	`:override 0 :returningList ({TARGETENTRY :resno 9 :resorigtbl 1 :resorigcol 1 :resjunk false})})`

func TestReadViewDef(t *testing.T) {
	got := readViewDef(viewTree)
	want := map[uint16]column{1: {16385, 3}, 3: {4000000000, 0xffff}}
	if diff := cmp.Diff(want, got.targets, cmp.AllowUnexported(column{})); diff != "" || got.whole {
		t.Errorf("%s, whole %t", diff, got.whole)
	}
	if !readViewDef(`({QUERY :targetList ({TARGETENTRY :expr {VAR :varno 1 :varattno 0 :vartype 16387}})})`).whole {
		t.Error("a row as a whole is not noticed")
	}
}

func FuzzReadViewDef(f *testing.F) {
	f.Add(viewTree)
	f.Add(`\`)
	f.Add(`({QUERY :targetList ({`)
	f.Fuzz(func(t *testing.T, tree string) {
		for number, c := range readViewDef(tree).targets {
			if number == 0 || c.table == 0 || c.number == 0 {
				t.Errorf("column %d comes from %v", number, c)
			}
		}
	})
}
