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

// newMetrics returns what /metrics shows: the statistics of that moment, and
// what Go and the system know of the process.
func newMetrics(statistics func() []statistic) *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		collector(statistics),
	)
	return r
}

// A collector gathers statistics that come and go: with plugins, for example.
type collector func() []statistic

// Describe describes nothing, which leaves what there is to Collect.
func (collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c collector) Collect(to chan<- prometheus.Metric) {
	for _, s := range c() {
		kind := prometheus.GaugeValue
		if strings.HasSuffix(s.name, "_total") {
			kind = prometheus.CounterValue
		}
		to <- prometheus.MustNewConstMetric(prometheus.NewDesc("gatehouse_"+s.name, s.help, nil, s.labels), kind, s.value())
	}
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
