package console

import (
	"embed"
	"io/fs"
	"net/http"
	"strings"
)

// The build of web puts the page here; a fresh clone has only the README.
//
//go:embed all:assets
var assets embed.FS

const notBuilt = `The console's page is not part of this build.

To build it, run in the repository:

    go tool task build

The API and the command line (gatehouse approvals) work without it.
`

// pages serves the page in dist and its files. The page finds out by itself
// which view its path names.
func (c *Console) pages(dist fs.FS) http.Handler {
	index, err := fs.ReadFile(dist, "index.html")
	if err != nil {
		c.Log.Warn("the console's page was not built into this program; run: go tool task build")
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			w.WriteHeader(http.StatusNotFound)
			_, _ = w.Write([]byte(notBuilt))
		})
	}
	files := http.FileServerFS(dist)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			w.Header().Set("Allow", "GET, HEAD")
			writeError(w, &apiError{http.StatusMethodNotAllowed, "a page can only be read", "use the console's page or the gatehouse command"})
		case strings.HasPrefix(r.URL.Path, "/assets/"):
			if _, err := fs.Stat(dist, strings.TrimPrefix(r.URL.Path, "/")); err != nil {
				writeError(w, &apiError{http.StatusNotFound, "the page has no such file", "reload the page"})
				return
			}
			// Their names change with their content.
			w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
			files.ServeHTTP(w, r)
		case r.URL.Path == "/favicon.svg":
			files.ServeHTTP(w, r)
		default:
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			_, _ = w.Write(index)
		}
	})
}
