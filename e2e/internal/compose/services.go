package compose

import (
	"fmt"
	"sync"
	"time"
)

// entry is one healthy instance of a service.
type entry struct {
	Service struct {
		ID      string
		Address string
		Port    int
		Meta    map[string]string
	}
}

// Services lists the healthy instances of a service, as an application finds them.
func (p *Project) Services(name string) ([]string, error) {
	p.t.Helper()
	var list []entry
	if err := get("http://"+p.One("consul").IP+":8500/v1/health/service/"+name+"?passing=1", &list); err != nil {
		return nil, err
	}
	var out []string
	for _, e := range list {
		out = append(out, fmt.Sprintf("%s:%d", e.Service.Address, e.Service.Port))
	}
	return out, nil
}

// Watcher polls the catalog all the time and remembers every moment in which it was wrong.
type Watcher struct {
	stop chan struct{}
	done sync.WaitGroup

	mu     sync.Mutex
	looks  int
	wrong  []string
	nobody time.Duration // how long, in sum, there was no primary to find
}

// Watch starts polling.
func (p *Project) Watch() *Watcher {
	w := &Watcher{stop: make(chan struct{})}
	consul := p.One("consul").IP
	w.done.Go(func() {
		for last := time.Now(); ; last = w.look(consul, last) {
			select {
			case <-w.stop:
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
	})
	return w
}

// look reads both services once. One primary at most, and the primary is no reader.
func (w *Watcher) look(consul string, last time.Time) time.Time {
	var primaries, readers []entry
	err := get("http://"+consul+":8500/v1/health/service/mysql-primary?passing=1", &primaries)
	if err == nil {
		err = get("http://"+consul+":8500/v1/health/service/mysql?passing=1", &readers)
	}
	now := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		return now
	}
	w.looks++
	switch len(primaries) {
	case 0:
		w.nobody += now.Sub(last)
	case 1:
	default:
		w.wrong = append(w.wrong, fmt.Sprintf("%s: %d primaries: %+v", now.Format("15:04:05.000"), len(primaries), primaries))
	}
	return now
}

// End stops and returns the number of looks, what was wrong, and for how long there was no primary.
func (w *Watcher) End() (looks int, wrong []string, nobody time.Duration) {
	close(w.stop)
	w.done.Wait()
	return w.looks, w.wrong, w.nobody
}
