//go:build !wasip1

package event

import "embed"

// Source is the source of this package, for tools that copy it beside a plugin.
//
//go:embed *.go
var Source embed.FS
