package statement

import (
	"context"
	"errors"
	"testing"
)

// After a trap nothing is parsed any more: the instance that trapped is back
// in the library's pool.
func TestTrapEndsParsing(t *testing.T) {
	p := newParser(2)
	if err := p.err(); err != nil {
		t.Errorf("before: %v", err)
	}
	if err := p.call(func() error { panic("unreachable") }); !errors.Is(err, ErrParser) {
		t.Errorf("the call that trapped: %v", err)
	}
	if _, err := p.parse(context.Background(), "SELECT 1"); !errors.Is(err, ErrParser) {
		t.Errorf("the next call: %v", err)
	}
	if err := p.err(); !errors.Is(err, ErrParser) {
		t.Errorf("afterwards: %v", err)
	}
}

// A call that ends while an older one is under way may have got the instance
// that the older one ruined.
func TestAnswerWaitsForOlderCalls(t *testing.T) {
	p := newParser(2)
	started, trap := make(chan struct{}), make(chan struct{})
	older, younger := make(chan error), make(chan error)
	go func() {
		older <- p.call(func() error {
			close(started)
			<-trap
			panic("unreachable")
		})
	}()
	<-started
	answered := make(chan struct{})
	go func() {
		younger <- p.call(func() error {
			close(answered)
			return nil
		})
	}()
	<-answered
	close(trap)
	for _, result := range []chan error{older, younger} {
		if err := <-result; !errors.Is(err, ErrParser) {
			t.Errorf("got %v", err)
		}
	}
}

func TestYoungerCallsDoNotDelay(t *testing.T) {
	p := newParser(2)
	started, finish := make(chan struct{}), make(chan struct{})
	err := p.call(func() error {
		go p.call(func() error {
			close(started)
			<-finish
			return nil
		})
		<-started
		return nil
	})
	close(finish)
	if err != nil {
		t.Error(err)
	}
}
