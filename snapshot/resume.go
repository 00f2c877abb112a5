package snapshot

import (
	"context"
	"fmt"
)

// units extracts the units that are missing. Behind each one, what it wrote is
// made durable and then noted in the journal, while the next is extracted.
func (r *restoring) units(ctx context.Context, parts *partReader) error {
	in, err := newUnitReader(parts, r.o.Keys, r.m.Encryption)
	if err != nil {
		return err
	}
	defer in.Close()
	u, err := newUnpacker(r.work.data(), r.at.place, r.at.Parts > 0)
	if err != nil {
		return err
	}
	defer u.Close()
	noted := make(chan error, 1)
	noted <- nil
	err = r.eachUnit(ctx, in, u, noted)
	if e := <-noted; err == nil { // always: it uses u and the journal
		err = e
	}
	if err == nil && u.File != nil {
		err = fmt.Errorf("%w: %q has %d of %d bytes", ErrIncomplete, u.File.Name, u.File.At, u.File.Size)
	}
	return err
}

// eachUnit leaves in noted, which holds the outcome of the note before, that of
// the last one.
func (r *restoring) eachUnit(ctx context.Context, in *unitReader, u *unpacker, noted chan error) error {
	done := r.at.Parts
	for _, p := range r.m.Parts[done:] {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := in.each(p, u.unit); err != nil {
			return err
		}
		done++
		if err := <-noted; err != nil {
			noted <- nil
			return err
		}
		line, settle := journalLine{Parts: done, place: u.here()}, u.settle()
		go func() {
			err := settle()
			if err == nil {
				err = r.journal.append(line)
			}
			if err == nil {
				r.at = line
			}
			noted <- err
		}()
	}
	return nil
}
