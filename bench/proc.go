package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"time"
)

// clockTick is the unit of processor time in /proc, in microseconds.
const clockTick = 1e6 / 100

var residentLine = regexp.MustCompile(`(?m)^VmRSS:\s+(\d+) kB$`)

// resident is the memory of the process between client and server, in KiB.
func (r *route) resident() (float64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", r.pid))
	if err != nil {
		return 0, fmt.Errorf("read memory: %w", err)
	}
	m := residentLine.FindSubmatch(status)
	if m == nil {
		return 0, fmt.Errorf("read memory: process %d has none", r.pid)
	}
	return strconv.ParseFloat(string(m[1]), 64)
}

// settle waits until the process between has done what is left to do.
func (r *route) settle(ctx context.Context) error {
	const quiet = 1200 * time.Millisecond // longer than recordings wait to be sealed
	before, err := r.cpu()
	if err != nil {
		return err
	}
	for {
		select {
		case <-time.After(quiet):
		case <-ctx.Done():
			return ctx.Err()
		}
		now, err := r.cpu()
		if err != nil || now-before <= clockTick { // a tick may be of what it does when idle
			return err
		}
		before = now
	}
}

// cpu is the processor time that the process between client and server has
// taken so far, in microseconds; 0 where there is no such process.
func (r *route) cpu() (float64, error) {
	if r.pid == 0 {
		return 0, nil
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", r.pid))
	if err != nil {
		return 0, fmt.Errorf("read processor time: %w", err)
	}
	// The program's name, in parentheses, may hold anything; after it come the
	// state and, 11 fields on, the times in user and in system mode.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 13 {
		return 0, fmt.Errorf("read processor time: %d fields", len(fields))
	}
	var ticks float64
	for _, f := range fields[11:13] {
		n, err := strconv.ParseFloat(string(f), 64)
		if err != nil {
			return 0, fmt.Errorf("read processor time: %w", err)
		}
		ticks += n
	}
	return ticks * clockTick, nil
}
