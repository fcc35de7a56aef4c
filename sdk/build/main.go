// Command build compiles the Go program in a directory to a plugin:
//
//	go run gatehouse/sdk/build -o keys.wasm ./keys
//
// If there is a schema.json beside it, the module carries it.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"

	"gatehouse/sdk/module"
)

func main() {
	out := flag.String("o", "plugin.wasm", "the module to write")
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: build [-o MODULE] DIRECTORY")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() != 1 {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(flag.Arg(0), *out); err != nil {
		fmt.Fprintln(os.Stderr, "build:", err)
		os.Exit(1)
	}
}

func run(dir, out string) error {
	wasm, err := module.Build(context.Background(), dir)
	if err != nil {
		return err
	}
	return os.WriteFile(out, wasm, 0o644)
}
