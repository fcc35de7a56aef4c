package main

import (
	"sync"

	"gatehouse/core/event"
	"gatehouse/core/pipeline"
	"gatehouse/core/policy"
	"gatehouse/core/quota"
)

// Spending is the use that one session makes of its principal's quotas.
type spending struct {
	ledger *quota.Ledger
	who    event.Principal
	access policy.Access

	mu       sync.Mutex
	accounts map[string]*quota.Account // by column; "" is of all
}

// bound sets the quotas of terms.
func (s *spending) bound(terms *pipeline.Terms) error {
	limit := s.access.Quota
	if limit.Rows > 0 || limit.Bytes > 0 {
		account, err := s.account("", quota.Limit{Rows: limit.Rows, Bytes: limit.Bytes})
		if err != nil {
			return err
		}
		terms.Quota = account
	}
	if c := limit.Columns; c != (policy.ColumnQuota{}) {
		terms.Columns = pipeline.ColumnQuotas{Over: c.Over, Of: func(column string) (pipeline.ColumnQuota, error) {
			return s.account(column, quota.Limit{Rows: c.Rows, Bytes: c.Bytes, Predicates: c.Predicates})
		}}
	}
	return nil
}

// account opens an account, once.
func (s *spending) account(column string, limit quota.Limit) (*quota.Account, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.accounts[column]; a != nil {
		return a, nil
	}
	a, err := s.ledger.Open(s.who, s.access.Rule, column, limit)
	if err != nil {
		return nil, err
	}
	if s.accounts == nil {
		s.accounts = make(map[string]*quota.Account)
	}
	s.accounts[column] = a
	return a, nil
}

func (s *spending) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.accounts {
		a.Close()
	}
}
