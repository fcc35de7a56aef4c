package console

import (
	"io/fs"
	"net/http"
	"time"
)

// SetSocketLimits shortens the deadlines of c's WebSockets.
func SetSocketLimits(c *Console, ping, write time.Duration) {
	c.limits = socketLimits{look: time.Millisecond, ping: ping, pong: time.Minute, write: write}
}

// WaitSockets returns when no WebSocket is open.
func WaitSockets(c *Console) { c.sockets.Wait() }

// Pages serves the page in dist.
func Pages(c *Console, dist fs.FS) http.Handler { return c.pages(dist) }

var (
	TextOf  = text
	MaxBody = maxBody
)
