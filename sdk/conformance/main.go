// Command conformance holds a plugin SDK against the interface between the gate
// and plugins, which sdk/ABI.md specifies. It runs the SDK's conformance guest:
//
//	go run ./sdk/conformance guest.wasm
//
// A conformance guest is a plugin with every hook. Configured with {} or not at
// all it tells what it was given, as JSON, by the rules of the golden files:
// compact or not, what is empty left out or not. So it does in configure too,
// with any configuration that is not empty and has no "answer". It tells it
//
//	configure              as the problem
//	on_open                as the state
//	on_request, on_upload  as the verdict's reason
//	on_head                as the rule of the first treatment
//	on_rows                as the text of an edit that replaces
//	on_end, on_close       as the note's text
//
// and nothing about a guest says how long these may be here. Configured with
// {"answer": …}, a message in the golden files' JSON, it answers that in the hook
// that has such an answer. Nothing golden need be written down in a guest.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
)

func main() {
	golden := flag.String("golden", "sdk/testdata/abi", "the golden files' folder")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: conformance [-golden DIR] GUEST.wasm...")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() == 0 {
		flag.Usage()
		os.Exit(2)
	}
	failed := false
	for _, name := range flag.Args() {
		if err := conforms(name, *golden); err != nil {
			failed = true
			fmt.Fprintf(os.Stderr, "%s does not conform:\n%v\n", name, err)
			continue
		}
		fmt.Printf("%s conforms\n", name)
	}
	if failed {
		os.Exit(1)
	}
}

func conforms(name, golden string) error {
	wasm, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	return check(context.Background(), wasm, golden)
}
