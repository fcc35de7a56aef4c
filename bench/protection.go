package main

import (
	"context"

	"gatehouse/core/event"
	"gatehouse/core/protect"
	"gatehouse/protocols/postgres"
)

// protectionGoal is the least share of the rate without protected columns that a
// gate should reach with some, in mode strict.
const protectionGoal = 0.95

// The routes of which one protects a column.
const (
	protecting  = "protecting"
	unprotected = "unprotected"
)

// measureProtection runs pgbench's read-only transaction, which touches nothing
// protected, through two gates that differ in that one of them protects a column
// strictly: each result's lineage is found out, and described by the server.
func measureProtection(ctx context.Context, s settings, l *lab) ([]goal, error) {
	return contest{
		title: "pgbench through a gate that protects a column strictly, and through one that does not",
		with:  protecting, without: unprotected, than: "without protection", of: "rate with a protected column, of that without",
		more: map[string][]string{protecting: {"", "public.customers.email"}, unprotected: {""}}, goal: protectionGoal, modes: modes,
	}.measure(ctx, s, l)
}

// strictly protects a column in mode strict.
func strictly(column string) (*protect.Columns, error) {
	return protect.New(protect.Config{
		Mode: protect.Strict, Columns: map[string]event.Treatment{column: {Kind: event.Redact}}, Implied: postgres.ProtectedCatalog(),
	})
}
