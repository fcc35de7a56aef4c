// Command unruly is a guest in Go that does what each request's operation says.
package main

import (
	"errors"
	"fmt"
	"math/rand"
	"os"
	"time"

	"gatehouse/sdk"
)

type plugin struct{}

var (
	hoard [][]byte
	kept  []string
)

func (plugin) Configure(config []byte) error {
	switch string(config) {
	case `{"do": "fail"}`:
		return errors.New("this is not how to configure it")
	case `{"do": "panic"}`:
		panic("cannot go on")
	}
	return nil
}

func (plugin) Judge(_ *sdk.Session, r *sdk.Request) sdk.Verdict {
	switch r.Operation {
	case "panic":
		panic(string(r.Payload))
	case "dereference":
		var s *sdk.Session
		return sdk.Verdict{Action: sdk.Allow, Rule: s.ID}
	case "hoard":
		for {
			hoard = append(hoard, make([]byte, 1<<20))
		}
	case "spin":
		for i := 0; ; i++ {
			if i < 0 {
				return sdk.Verdict{}
			}
		}
	case "wait":
		select {}
	case "sleep":
		time.Sleep(time.Hour)
	case "exit":
		os.Exit(0)
	case "print":
		fmt.Println(string(r.Payload))
		fmt.Fprintln(os.Stderr, string(r.Payload))
	case "look around":
		_, err := os.ReadFile("/etc/passwd")
		return sdk.Verdict{Action: sdk.Allow, Reason: fmt.Sprint(os.Args, os.Environ(), err != nil, time.Now().Year(), rand.Uint64() == 0)}
	case "plant":
		kept = append(kept, string(r.Payload))
		hoard = append(hoard, make([]byte, 1<<20))
		os.Stdout.Close()
		_, _ = fmt.Sprint(time.Now(), rand.Uint64()), os.Setenv("PLANTED", string(r.Payload))
	case "recall":
		_, err := os.Stdout.Write(nil)
		return sdk.Verdict{Action: sdk.Allow, Reason: fmt.Sprint(kept, len(hoard), time.Now(), rand.Uint64(), os.Environ(), err)}
	case "dice":
		return sdk.Verdict{Action: sdk.Allow, Reason: fmt.Sprint(time.Now(), rand.Uint64())}
	}
	return sdk.Verdict{Action: sdk.Allow}
}

func init() { sdk.Register(plugin{}) }

func main() {}
