package agent

// bell tells everybody who waits that something has changed. The owner's mutex guards it; the zero value is ready.
type bell struct {
	rung chan struct{} // nil: nobody waits
}

// next is closed when the bell is rung next.
func (b *bell) next() <-chan struct{} {
	if b.rung == nil {
		b.rung = make(chan struct{})
	}
	return b.rung
}

func (b *bell) ring() {
	if b.rung != nil {
		close(b.rung)
		b.rung = nil
	}
}
