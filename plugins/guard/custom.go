package main

import (
	"cmp"
	"errors"
	"fmt"
	"strings"

	"gatehouse/sdk"
)

// A custom rule applies to the statements that its selector picks.
type custom struct {
	Name   string `json:"name"`
	Action action `json:"action"`
	sdk.Selector
	Reason string `json:"reason"`
}

func (c *custom) validate() error {
	var errs []error
	if c.Name == "" || strings.ContainsAny(c.Name, "/ ") {
		errs = append(errs, fmt.Errorf("name %q must be one word", c.Name))
	}
	if c.Action == off {
		errs = append(errs, errors.New("action must be hold or block"))
	}
	return errors.Join(append(errs, c.Validate())...)
}

func (c *custom) verdict(st *sdk.Statement) sdk.Verdict {
	why := cmp.Or(c.Reason, sdk.Subject(st)+" is not allowed here")
	return sdk.Verdict{
		Action: sdk.Action(c.Action),
		Rule:   "guard/custom/" + c.Name,
		Reason: fmt.Sprintf("%s (rule guard/custom/%s)", why, c.Name),
	}
}
