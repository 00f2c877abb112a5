package metrics

import (
	"context"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/election"
)

// The operations that are told apart.
const (
	opRead    = "read"
	opWatch   = "watch" // blocking query: counted when it fails, never measured
	opTxn     = "txn"
	opPass    = "pass"
	opAcquire = "acquire"
)

func consulOps() []string { return []string{opRead, opTxn, opPass, opAcquire} }

func (m *Metrics) observe(op string, began time.Time, err error) {
	m.latency.WithLabelValues(op).Observe(time.Since(began).Seconds())
	m.failed(op, err)
}

func (m *Metrics) failed(op string, err error) {
	if err != nil {
		m.failures.WithLabelValues(op).Inc()
	}
}

// Store is s, measured.
func (m *Metrics) Store(s election.Store) election.Store { return measuredStore{s, m} }

type measuredStore struct {
	election.Store
	m *Metrics
}

// Read implements [election.Store].
func (s measuredStore) Read(ctx context.Context, prefix string, consistent bool) (election.View, error) {
	began := time.Now()
	v, err := s.Store.Read(ctx, prefix, consistent)
	s.m.observe(opRead, began, err)
	return v, err
}

// Wait implements [election.Store].
func (s measuredStore) Wait(ctx context.Context, prefix string, index uint64, most time.Duration) (election.View, error) {
	v, err := s.Store.Wait(ctx, prefix, index, most)
	if ctx.Err() == nil {
		s.m.failed(opWatch, err)
	}
	return v, err
}

// Txn implements [election.Store].
func (s measuredStore) Txn(ctx context.Context, ops ...election.Op) (bool, string, error) {
	began := time.Now()
	ok, why, err := s.Store.Txn(ctx, ops...)
	s.m.observe(opTxn, began, err)
	return ok, why, err
}

// Session is s, measured.
func (m *Metrics) Session(s election.Session) election.Session { return measuredSession{s, m} }

type measuredSession struct {
	election.Session
	m *Metrics
}

// Pass implements [election.Session].
func (s measuredSession) Pass(ctx context.Context) error {
	began := time.Now()
	err := s.Session.Pass(ctx)
	s.m.observe(opPass, began, err)
	return err
}

// Acquire implements [election.Session].
func (s measuredSession) Acquire(ctx context.Context, key string, value []byte) (bool, error) {
	began := time.Now()
	ok, err := s.Session.Acquire(ctx, key, value)
	s.m.observe(opAcquire, began, err)
	return ok, err
}
