package main

import (
	"fmt"
	"slices"
	"time"
)

// sample is what one transaction or one row took, in microseconds.
type sample struct {
	time float64 // on the clock
	cpu  float64 // of the processors, by the process between client and server
}

// rounds holds one sample for each route by name, round by round.
type rounds []map[string]sample

// timed returns what each of the units took that f works through on a route.
func timed(r *route, f func() (units float64, err error)) (sample, error) {
	before, err := r.cpu()
	if err != nil {
		return sample{}, err
	}
	begun := time.Now()
	units, err := f()
	if err != nil {
		return sample{}, err
	}
	took := time.Since(begun)
	after, err := r.cpu()
	if err != nil {
		return sample{}, err
	}
	return sample{time: took.Seconds() * 1e6 / units, cpu: (after - before) / units}, nil
}

// interleave measures every route once a round, so that what changes on the
// machine over time falls on all of them: in turn, and every second round the other
// way round, since what was measured just before has its part in a measurement.
func interleave(n int, routes []*route, measure func(*route) (sample, error)) (rounds, error) {
	var all rounds
	routes = slices.Clone(routes)
	for i := range n {
		if i > 0 {
			slices.Reverse(routes)
		}
		round := make(map[string]sample, len(routes))
		for _, r := range routes {
			s, err := measure(r)
			if err != nil {
				return nil, fmt.Errorf("measure %s: %w", r.name, err)
			}
			round[r.name] = s
		}
		all = append(all, round)
	}
	return all, nil
}

// sorted is what figure makes of each round, the least first.
func (r rounds) sorted(figure func(round map[string]sample) float64) (figures []float64) {
	for _, round := range r {
		figures = append(figures, figure(round))
	}
	slices.Sort(figures)
	return figures
}

// median is the median of what figure makes of each round.
func (r rounds) median(figure func(round map[string]sample) float64) float64 {
	figures := r.sorted(figure)
	middle := len(figures) / 2
	if len(figures)%2 == 1 {
		return figures[middle]
	}
	return (figures[middle-1] + figures[middle]) / 2
}

// quartiles are those of what figure makes of each round: half of the rounds are
// between them.
func (r rounds) quartiles(figure func(round map[string]sample) float64) (low, high float64) {
	figures := r.sorted(figure)
	n := len(figures)
	return figures[n/4], figures[n-1-n/4]
}

// time is the median of a route's times.
func (r rounds) time(name string) float64 {
	return r.median(func(round map[string]sample) float64 { return round[name].time })
}

// cpu is the median of what a route's process between took.
func (r rounds) cpu(name string) float64 {
	return r.median(func(round map[string]sample) float64 { return round[name].cpu })
}

// added is by how much a route takes longer than the direct one in the same
// round.
func (r rounds) added(name string) float64 {
	return r.median(func(round map[string]sample) float64 { return round[name].time - round[direct].time })
}

// speed is how many times as fast as another a route is in the same round.
func (r rounds) speed(name, base string) float64 { return r.median(speed(name, base)) }

// speed is how many times as fast as another a route is in a round.
func speed(name, base string) func(round map[string]sample) float64 {
	return func(round map[string]sample) float64 { return round[base].time / round[name].time }
}
