package main

import "testing"

func TestMedianIsTheMiddleOrTheMeanOfTwo(t *testing.T) {
	odd := rounds{{"a": 9}, {"a": 1}, {"a": 3}}
	if got := odd.of("a"); got != 3 {
		t.Errorf("median of 9, 1, 3 = %v, want 3", got)
	}
	even := append(odd, map[string]float64{"a": 5})
	if got := even.of("a"); got != 4 {
		t.Errorf("median of 9, 1, 3, 5 = %v, want 4", got)
	}
}

// A machine that is slow for a round slows every route in it, so a ratio must
// compare within rounds.
func TestRatioComparesWithinRounds(t *testing.T) {
	r := rounds{{"gate": 2, "direct": 4}, {"gate": 20, "direct": 40}, {"gate": 200, "direct": 400}}
	if got := r.ratio("gate", "direct"); got != 0.5 {
		t.Errorf("ratio = %v, want 0.5", got)
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
