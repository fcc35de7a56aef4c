package statement

import (
	"strings"

	tree "github.com/pganalyze/pg_query_go/v6"
	"google.golang.org/protobuf/proto"
)

// utility takes the statements that steer a session or contain others. It
// returns false for a statement that is none of them.
func (b *builder) utility(m proto.Message) bool {
	switch m := m.(type) {
	case *tree.TransactionStmt:
		b.transaction(m)
	case *tree.VariableSetStmt:
		b.set(m)
	case *tree.VariableShowStmt:
		b.kind("SHOW")
	case *tree.DiscardStmt:
		b.discard(m)
	case *tree.ConstraintsSetStmt:
		b.kind("SET CONSTRAINTS")
	case *tree.PrepareStmt:
		b.kind("PREPARE")
		b.name(m.GetName())
		b.visitAll(m.GetArgtypes())
		b.contains(m.GetQuery(), "prepare", false)
	case *tree.ExecuteStmt:
		b.kind("EXECUTE")
		b.name(m.GetName())
		b.visitAll(m.GetParams())
	case *tree.DeallocateStmt:
		b.kind("DEALLOCATE")
		if m.GetIsall() {
			b.kind("DEALLOCATE ALL")
		}
		b.name(m.GetName())
	case *tree.ExplainStmt:
		b.explain(m)
	case *tree.CopyStmt:
		b.copy(m)
	case *tree.DeclareCursorStmt:
		b.declare(m)
	case *tree.FetchStmt:
		b.kind("FETCH")
		if m.GetIsmove() {
			b.kind("MOVE")
		}
		b.name(m.GetPortalname())
	case *tree.ClosePortalStmt:
		b.kind("CLOSE CURSOR")
		if m.GetPortalname() == "" {
			b.kind("CLOSE CURSOR ALL")
		}
		b.name(m.GetPortalname())
	case *tree.CallStmt:
		b.kind("CALL")
		b.visit(m.GetFunccall())
	case *tree.DoStmt:
		b.do(m)
	case *tree.ListenStmt:
		b.kind("LISTEN")
		b.name(m.GetConditionname())
	case *tree.UnlistenStmt:
		b.kind("UNLISTEN")
		b.name(m.GetConditionname())
	case *tree.NotifyStmt:
		b.kind("NOTIFY")
		b.name(m.GetConditionname())
	case *tree.LoadStmt:
		b.kind("LOAD")
	case *tree.CheckPointStmt:
		b.kind("CHECKPOINT")
	case *tree.LockStmt:
		b.lock(m)
	case *tree.ReturnStmt:
		b.kind("SELECT") // RETURN expression, in a function's body
		b.visit(m.GetReturnval())
	default:
		return false
	}
	return true
}

// contains takes a statement inside the open one.
func (b *builder) contains(n *tree.Node, within string, runs bool) {
	b.statement(n, b.inside(within, runs))
}

func (b *builder) transaction(t *tree.TransactionStmt) {
	switch t.GetKind() {
	case tree.TransactionStmtKind_TRANS_STMT_BEGIN:
		b.kind("BEGIN")
	case tree.TransactionStmtKind_TRANS_STMT_START:
		b.kind("START TRANSACTION")
	case tree.TransactionStmtKind_TRANS_STMT_COMMIT:
		b.kind("COMMIT")
	case tree.TransactionStmtKind_TRANS_STMT_ROLLBACK:
		b.kind("ROLLBACK")
	case tree.TransactionStmtKind_TRANS_STMT_SAVEPOINT:
		b.kind("SAVEPOINT")
	case tree.TransactionStmtKind_TRANS_STMT_RELEASE:
		b.kind("RELEASE")
	case tree.TransactionStmtKind_TRANS_STMT_ROLLBACK_TO:
		b.kind("ROLLBACK")
		b.option("TO SAVEPOINT")
	case tree.TransactionStmtKind_TRANS_STMT_PREPARE:
		b.kind("PREPARE TRANSACTION")
	case tree.TransactionStmtKind_TRANS_STMT_COMMIT_PREPARED:
		b.kind("COMMIT PREPARED")
	case tree.TransactionStmtKind_TRANS_STMT_ROLLBACK_PREPARED:
		b.kind("ROLLBACK PREPARED")
	}
	b.name(t.GetSavepointName())
	b.optionIf(t.GetChain(), "AND CHAIN")
	for _, n := range t.GetOptions() {
		b.transactionMode(n.GetDefElem())
	}
}

// transactionMode takes one mode of BEGIN, SET TRANSACTION or SET SESSION
// CHARACTERISTICS.
func (b *builder) transactionMode(mode *tree.DefElem) {
	switch mode.GetDefname() {
	case "transaction_isolation":
		b.option("ISOLATION LEVEL")
	case "transaction_read_only":
		if mode.GetArg().GetAConst().GetIval().GetIval() != 0 {
			b.option("READ ONLY")
		} else {
			b.option("READ WRITE")
		}
	case "transaction_deferrable":
		b.option("DEFERRABLE")
	}
}

// set takes SET and RESET, and their forms in ALTER.
func (b *builder) set(s *tree.VariableSetStmt) {
	b.kind("SET")
	b.setVariable(s)
}

func (b *builder) setVariable(s *tree.VariableSetStmt) {
	b.literal = true
	name := strings.ToLower(s.GetName())
	alter := b.current().Kind != "SET"
	b.optionIf(s.GetIsLocal(), "LOCAL")
	switch s.GetKind() {
	case tree.VariableSetKind_VAR_RESET, tree.VariableSetKind_VAR_RESET_ALL:
		if alter {
			b.option("RESET")
		} else {
			b.kind("RESET")
		}
		if s.GetKind() == tree.VariableSetKind_VAR_RESET_ALL {
			name = "all"
		}
		b.setting(name)
		return
	case tree.VariableSetKind_VAR_SET_MULTI:
		b.setMulti(name, s.GetArgs())
		return
	case tree.VariableSetKind_VAR_SET_DEFAULT:
		b.option("TO DEFAULT")
	case tree.VariableSetKind_VAR_SET_CURRENT:
		b.option("FROM CURRENT")
	case tree.VariableSetKind_VAR_SET_VALUE:
		b.setValue(name, s.GetArgs())
	}
	b.optionIf(alter, "SET")
	b.setting(name)
}

func (b *builder) setMulti(name string, args []*tree.Node) {
	prefix := ""
	switch name {
	case "session characteristics":
		prefix = "default_"
	case "transaction snapshot":
		b.setting("transaction_snapshot")
		return
	}
	for _, n := range args {
		b.transactionMode(n.GetDefElem())
		b.setting(prefix + n.GetDefElem().GetDefname())
	}
}

func (b *builder) setValue(name string, args []*tree.Node) {
	if len(args) != 1 {
		return
	}
	value := ""
	switch v := args[0].GetAConst().GetVal().(type) {
	case *tree.A_Const_Sval:
		value = v.Sval.GetSval()
	case *tree.A_Const_Ival:
		if i := v.Ival.GetIval(); i == 0 || i == 1 {
			value = string('0' + byte(i))
		}
	}
	if name == "role" || name == "session_authorization" {
		b.name(value)
		return
	}
	b.option(valueWords(name, value))
}

func (b *builder) discard(d *tree.DiscardStmt) {
	switch d.GetTarget() {
	case tree.DiscardMode_DISCARD_PLANS:
		b.kind("DISCARD PLANS")
	case tree.DiscardMode_DISCARD_SEQUENCES:
		b.kind("DISCARD SEQUENCES")
	case tree.DiscardMode_DISCARD_TEMP:
		b.kind("DISCARD TEMP")
	default:
		b.kind("DISCARD ALL")
		b.setting("all")
	}
}

// explain runs its statement with ANALYZE only. Of several ANALYZE options the
// last decides; here any that may be true does.
func (b *builder) explain(e *tree.ExplainStmt) {
	b.kind("EXPLAIN")
	b.literal = true
	runs := false
	for _, n := range e.GetOptions() {
		d := n.GetDefElem()
		if strings.EqualFold(d.GetDefname(), "analyze") && mayBeTrue(d.GetArg()) {
			runs = true
		}
	}
	b.optionIf(runs, "ANALYZE")
	if runs {
		b.contains(e.GetQuery(), "explain analyze", true)
	} else {
		b.contains(e.GetQuery(), "explain", false)
	}
}

// mayBeTrue reports whether an option is on: it is when it has no value.
func mayBeTrue(n *tree.Node) bool {
	switch v := message(n).(type) {
	case *tree.String:
		switch strings.ToLower(v.GetSval()) {
		case "off", "false":
			return false
		}
	case *tree.Integer:
		return v.GetIval() != 0
	case *tree.Boolean:
		return v.GetBoolval()
	}
	return true
}

func (b *builder) copy(c *tree.CopyStmt) {
	b.kind("COPY")
	direction, client := "TO", "STDOUT"
	if c.GetIsFrom() {
		direction, client = "FROM", "STDIN"
		b.target(c.GetRelation())
	} else if c.GetRelation() != nil {
		b.reads(object(c.GetRelation()))
	}
	b.option(direction)
	switch {
	case c.GetIsProgram():
		b.option("PROGRAM")
	case c.GetFilename() != "":
		b.option("FILE")
	default:
		b.option(client)
	}
	for _, column := range texts(c.GetAttlist()) {
		b.column(column)
	}
	b.visit(c.GetWhereClause())
	if c.GetQuery() != nil {
		b.contains(c.GetQuery(), "copy", true)
	}
}

// The bits of a DECLARE's options.
const (
	cursorBinary = 0x0001
	cursorScroll = 0x0002
	cursorHold   = 0x0020
)

func (b *builder) declare(d *tree.DeclareCursorStmt) {
	b.kind("DECLARE CURSOR")
	b.name(d.GetPortalname())
	b.optionIf(d.GetOptions()&cursorBinary != 0, "BINARY")
	b.optionIf(d.GetOptions()&cursorScroll != 0, "SCROLL")
	b.optionIf(d.GetOptions()&cursorHold != 0, "WITH HOLD")
	b.contains(d.GetQuery(), "cursor", true)
}

// lockModes are the modes of LOCK TABLE, from 1.
var lockModes = [...]string{
	"ACCESS SHARE", "ROW SHARE", "ROW EXCLUSIVE", "SHARE UPDATE EXCLUSIVE",
	"SHARE", "SHARE ROW EXCLUSIVE", "EXCLUSIVE", "ACCESS EXCLUSIVE",
}

func (b *builder) lock(l *tree.LockStmt) {
	b.kind("LOCK TABLE")
	for _, n := range l.GetRelations() {
		b.reads(object(n.GetRangeVar()))
	}
	if m := int(l.GetMode()); m >= 1 && m <= len(lockModes) {
		b.option(lockModes[m-1])
	}
	b.optionIf(l.GetNowait(), "NOWAIT")
}
