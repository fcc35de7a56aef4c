package main

import "testing"

func TestMedianIsTheMiddleOrTheMeanOfTwo(t *testing.T) {
	odd := rounds{{"a": {time: 9}}, {"a": {time: 1}}, {"a": {time: 3}}}
	if got := odd.time("a"); got != 3 {
		t.Errorf("median of 9, 1, 3 = %v, want 3", got)
	}
	even := append(odd, map[string]sample{"a": {time: 5}})
	if got := even.time("a"); got != 4 {
		t.Errorf("median of 9, 1, 3, 5 = %v, want 4", got)
	}
}

func TestHalfOfTheRoundsAreBetweenTheQuartiles(t *testing.T) {
	var all rounds
	for i := range 8 {
		all = append(all, map[string]sample{"a": {time: float64(8 - i)}})
	}
	low, high := all.quartiles(func(round map[string]sample) float64 { return round["a"].time })
	if low != 3 || high != 6 {
		t.Errorf("quartiles of 1 to 8 = %v and %v, want 3 and 6", low, high)
	}
}

// A machine that is slow for a round slows every route in it, so routes are
// compared within rounds.
func TestRoutesAreComparedWithinRounds(t *testing.T) {
	r := rounds{
		{gate: {time: 4}, direct: {time: 2}},
		{gate: {time: 40}, direct: {time: 20}},
		{gate: {time: 44}, direct: {time: 22}},
	}
	if got := r.speed(gate, direct); got != 0.5 {
		t.Errorf("speed = %v, want 0.5", got)
	}
	if got := r.added(gate); got != 20 {
		t.Errorf("added = %v, want 20", got)
	}
}

func TestRowsThatAreNotMaskedAsTheRouteSaysAreNoMeasurement(t *testing.T) {
	for _, c := range []struct {
		masked bool
		email  string
		ok     bool
	}{
		{masked: false, email: "customer1@example.com", ok: true},
		{masked: false, email: "***", ok: false},
		{masked: true, email: "***", ok: true},
		{masked: true, email: "customer1@example.com", ok: false},
	} {
		if err := checkMasked(&route{masked: c.masked}, c.email); (err == nil) != c.ok {
			t.Errorf("masked route %v, value %q: %v", c.masked, c.email, err)
		}
	}
}
