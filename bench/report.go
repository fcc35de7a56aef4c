package main

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"text/tabwriter"
)

// table is what was measured, row by row.
type table struct {
	title   string
	columns []string
	rows    [][]string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

func (t *table) print(w io.Writer) error {
	fmt.Fprintf(w, "\n%s\n\n", t.title)
	tabs := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, row := range append([][]string{t.columns}, t.rows...) {
		for _, cell := range row {
			fmt.Fprintf(tabs, "%s\t", cell)
		}
		fmt.Fprintln(tabs)
	}
	if err := tabs.Flush(); err != nil {
		return fmt.Errorf("print table: %w", err)
	}
	return nil
}

// whole and ratio write figures; what could not be measured is a dash.
func whole(f float64) string { return figure(f, 0) }
func ratio(f float64) string { return figure(f, 2) }

func figure(f float64, digits int) string {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return "-"
	}
	return strconv.FormatFloat(f, 'f', digits, 64)
}

// goal is a bound that a figure should keep.
type goal struct {
	what  string
	got   float64
	bound float64
	least bool // whether the bound is a minimum
}

func (g goal) met() bool {
	if g.least {
		return g.got >= g.bound
	}
	return g.got <= g.bound
}

func printGoals(w io.Writer, goals []goal) error {
	t := table{title: "Goals", columns: []string{"what", "measured", "goal", ""}}
	for _, g := range goals {
		sign, verdict := "at most ", "missed"
		if g.least {
			sign = "at least "
		}
		if g.met() {
			verdict = "met"
		}
		t.add(g.what, ratio(g.got), sign+ratio(g.bound), verdict)
	}
	return t.print(w)
}
