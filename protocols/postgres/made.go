package postgres

import (
	"maps"
	"slices"
	"strings"

	"gatehouse/core/event"
)

// Made are the tables that a session makes, by name without a schema. A name that
// may be another thing's is false for good.
type made struct {
	tables  map[string]bool
	renames bool // so that a name may mean anything
}

// maxMade is how many names a session remembers.
const maxMade = 1000

func (m *made) has(o event.Object) bool { return m.tables[o.Name] && !m.renames }

func (m *made) clone() made { return made{maps.Clone(m.tables), m.renames} }

// note takes into account what statements make.
func (m *made) note(list []event.Statement) {
	for i := range list {
		st := &list[i]
		table := st.Kind == "CREATE TABLE" || st.Kind == "CREATE TABLE AS" || st.Kind == "SELECT INTO"
		if !st.Runs || !table && !strings.HasPrefix(st.Kind, "CREATE ") && !strings.HasPrefix(st.Kind, "ALTER ") {
			continue
		}
		for _, o := range st.Writes {
			if m.tables == nil {
				m.tables = make(map[string]bool)
			}
			if is, known := m.tables[o.Name]; known || len(m.tables) < maxMade {
				m.tables[o.Name] = table && (is || !known)
			}
		}
		m.renames = m.renames || slices.Contains(st.Options, "RENAME TO")
	}
}
