package pipeline

import (
	"context"

	"gatehouse/core/event"
)

// tellEnders tells the plugins of t how an exchange ended and records what they
// note.
func (s *Session) tellEnders(t *terms, exchange uint64, o *event.Outcome) error {
	for _, e := range t.enders {
		// Nobody waits for it who could give up; a call has its own limit.
		n, err := e.role.End(context.Background(), t.Session, o)
		if err := s.note(e.plugin, exchange, n, err); err != nil {
			return err
		}
	}
	return nil
}

// closePlugins tells the plugins of t that the session leaves them and records
// what they note.
func (s *Session) closePlugins(ctx context.Context, t *terms) error {
	for _, c := range t.closers {
		n, err := c.role.Close(ctx)
		if err := s.note(c.plugin, 0, n, err); err != nil {
			return err
		}
	}
	return nil
}

// note records a plugin's note, or that it failed: what it was told of has
// happened.
func (s *Session) note(plugin string, exchange uint64, n *event.Note, failed error) error {
	notice := event.Notice{Code: event.CodePlugin, Attrs: []event.Attr{{Key: AttrPlugin, Value: plugin}}}
	switch {
	case failed != nil:
		notice.Text = failed.Error()
	case n == nil:
		return nil
	default:
		notice.Text, notice.Attrs = n.Text, append(notice.Attrs, n.Labels...)
	}
	return s.record(event.KindNotice, exchange, notice.Append)
}

// AttrPlugin is the attribute of notices that names the plugin.
const AttrPlugin = event.AttrPlugin
