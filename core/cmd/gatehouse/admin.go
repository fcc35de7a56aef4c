package main

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// A condition is one thing that must hold for the gate to be ready.
type condition struct {
	name string
	err  func() error // safe for concurrent use
	// warns is whether the gate is ready all the same.
	warns bool
}

// newAdmin returns the handler of the admin listener.
func newAdmin(metrics prometheus.Gatherer, conditions []condition) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		answer, ready := readiness(conditions)
		if !ready {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		fmt.Fprint(w, answer)
	})
	return mux
}

// readiness returns one line for each condition.
func readiness(conditions []condition) (answer string, ready bool) {
	var b strings.Builder
	ready = true
	for _, c := range conditions {
		if err := c.err(); err != nil {
			ready = ready && c.warns
			fmt.Fprintf(&b, "%s: %v\n", c.name, err)
			continue
		}
		fmt.Fprintf(&b, "%s: ok\n", c.name)
	}
	return b.String(), ready
}

// A statistic is a number that a package keeps and the gate publishes.
type statistic struct {
	name   string // a counter if it ends in _total
	help   string
	labels prometheus.Labels
	value  func() float64 // safe for concurrent use
}

// newMetrics returns what /metrics shows: statistics, and what Go and the
// system know of the process.
func newMetrics(statistics []statistic) *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	for _, s := range statistics {
		if strings.HasSuffix(s.name, "_total") {
			r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
				Namespace: "gatehouse", Name: s.name, Help: s.help, ConstLabels: s.labels,
			}, s.value))
			continue
		}
		r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Namespace: "gatehouse", Name: s.name, Help: s.help, ConstLabels: s.labels,
		}, s.value))
	}
	return r
}

// newServer returns an HTTP server for one of the gate's own listeners.
func newServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second, // a WebSocket's is its own
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
	}
}
