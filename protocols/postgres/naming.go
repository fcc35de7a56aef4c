package postgres

import (
	"context"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// A naming is the search path and the role of a session, which say what names
// stand for. Of what is not known it has nothing.
type naming struct{ path, role string }

// newNaming returns what a new session begins with.
func newNaming(ctx context.Context, conn *pgx.Conn) (n naming, err error) {
	err = conn.QueryRow(ctx, "SELECT reset_val, pg_catalog.current_setting('role') FROM pg_catalog.pg_settings WHERE name = 'search_path'").Scan(&n.path, &n.role)
	return n, err
}

// path returns the schemas in which the server looks for names that have none,
// as an array. It is empty, for all schemas, where the gate does not know.
func (s *session) path(ctx context.Context) string {
	_, settled := s.queue.transaction()
	path, known := s.settings.searched(settled)
	if known && path == "" {
		path = s.catalog.firstPath(ctx)
	}
	if !known {
		return ""
	}
	if path != s.searches.path {
		s.searches.path, s.searches.schemas = path, schemas(path, s.resource.User)
	}
	return s.searches.schemas
}

// schemas turns a search_path into an array of text, or "" if it is none.
func schemas(path, user string) string {
	array := []string{`"pg_catalog"`}
	for path = strings.TrimSpace(path); path != ""; {
		var name string
		if path[0] == '"' {
			end := 1
			for ; end < len(path) && (path[end] != '"' || strings.HasPrefix(path[end:], `""`)); end++ {
				if path[end] == '"' {
					end++
				}
			}
			if end >= len(path) {
				return ""
			}
			name, path = strings.ReplaceAll(path[1:end], `""`, `"`), path[end+1:]
		} else {
			end := strings.IndexByte(path+",", ',')
			name, path = strings.ToLower(strings.TrimSpace(path[:end])), path[end:]
		}
		if name == "$user" {
			name = user
		}
		array = append(array, `"`+strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(name)+`"`)
		if path = strings.TrimSpace(path); path != "" && path[0] != ',' {
			return ""
		} else if path != "" {
			path = strings.TrimSpace(path[1:])
		}
	}
	return "{" + strings.Join(array, ",") + "}"
}

// newNaming returns what a session begins with that begins now, as far as it can
// be told: ALTER ROLE and ALTER DATABASE may have changed it.
func (c *catalog) newNaming(ctx context.Context) naming {
	c.mu.Lock()
	first, fresh := c.first, time.Since(c.firstSince) < CatalogAge
	c.mu.Unlock()
	if first.path != "" && fresh {
		return first
	}
	ctx, cancel := context.WithTimeout(ctx, catalogTimeout)
	defer cancel()
	conn, err := c.resource.newest(c.address).connect(ctx, c.database, c.address)
	if err != nil {
		return first
	}
	defer giveUp(conn)
	now, err := newNaming(ctx, conn)
	if err != nil {
		return first
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.first, c.firstSince = now, time.Now()
	return now
}

// firstPath returns the search path that sessions begin with, or "".
func (c *catalog) firstPath(ctx context.Context) string {
	c.mu.Lock()
	path := c.first.path
	c.mu.Unlock()
	if path == "" {
		_ = c.ask(ctx, func(context.Context, *pgx.Conn) error { return nil }) // then it is not known
		c.mu.Lock()
		path = c.first.path
		c.mu.Unlock()
	}
	return path
}
