//go:build !wasip1

package sdk

import "embed"

// Source is the source of the SDKs, for tools that copy one beside a plugin: of this
// package, and in a folder each those of other languages, with what is written about
// them.
//
//go:embed *.go ABI.md README.md c/README.md rust/README.md assemblyscript/README.md
//go:embed c/gatehouse.c c/gatehouse.h rust/Cargo.toml rust/src assemblyscript/package.json assemblyscript/schema.mjs assemblyscript/assembly
var Source embed.FS
