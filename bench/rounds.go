package main

import (
	"fmt"
	"slices"
)

// rounds holds one figure for each route by name, round by round.
type rounds []map[string]float64

// interleave measures every route once a round, so that what changes on the
// machine over time falls on all of them.
func interleave(n int, routes []*route, measure func(*route) (float64, error)) (rounds, error) {
	var all rounds
	for range n {
		round := make(map[string]float64, len(routes))
		for _, r := range routes {
			figure, err := measure(r)
			if err != nil {
				return nil, fmt.Errorf("measure %s: %w", r.name, err)
			}
			round[r.name] = figure
		}
		all = append(all, round)
	}
	return all, nil
}

// median is the median of what figure makes of each round.
func (r rounds) median(figure func(round map[string]float64) float64) float64 {
	var figures []float64
	for _, round := range r {
		figures = append(figures, figure(round))
	}
	slices.Sort(figures)
	middle := len(figures) / 2
	if len(figures)%2 == 1 {
		return figures[middle]
	}
	return (figures[middle-1] + figures[middle]) / 2
}

// of is the median of a route's own figures.
func (r rounds) of(name string) float64 {
	return r.median(func(round map[string]float64) float64 { return round[name] })
}

// ratio is the median of one route's figure over another's in the same round.
func (r rounds) ratio(name, base string) float64 {
	return r.median(func(round map[string]float64) float64 { return round[name] / round[base] })
}
