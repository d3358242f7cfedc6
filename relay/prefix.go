package relay

import "sort"

// prefix knows which offsets of a partition are not done, and so how far it may
// be committed: up to the first of them, and no further. Offsets come in order
// and may have gaps. It keeps what is not done and at most as much again, however
// long one record holds the others back.
type prefix struct {
	next    int64   // the offset behind the newest one that was read; -1 for none
	open    []entry // in the order of offsets; the first is never done
	done    int     // how many of open are done
	pending int
}

type entry struct {
	offset int64
	done   bool
}

func newPrefix() *prefix { return &prefix{next: -1} }

// add takes an offset that is to be done. It tells false for one that has been
// passed already.
func (p *prefix) add(offset int64) bool {
	if offset < p.next {
		return false
	}
	p.next = offset + 1
	p.open = append(p.open, entry{offset: offset})
	p.pending++
	return true
}

// skip takes an offset with which there is nothing to do.
func (p *prefix) skip(offset int64) { p.next = max(p.next, offset+1) }

// finish marks an offset as done. Again changes nothing.
func (p *prefix) finish(offset int64) {
	i := sort.Search(len(p.open), func(i int) bool { return p.open[i].offset >= offset })
	if i == len(p.open) || p.open[i].offset != offset || p.open[i].done {
		return
	}
	p.open[i].done = true
	p.done++
	p.pending--
	n := 0
	for n < len(p.open) && p.open[n].done {
		n++
	}
	p.open = p.open[n:]
	p.done -= n
	if p.done > 64 && p.done > len(p.open)/2 {
		kept := make([]entry, 0, 2*(len(p.open)-p.done))
		for _, e := range p.open {
			if !e.done {
				kept = append(kept, e)
			}
		}
		p.open, p.done = kept, 0
	}
}

// commit is the offset to commit, the first that is not done; -1 before anything
// was read.
func (p *prefix) commit() int64 {
	if len(p.open) > 0 {
		return p.open[0].offset
	}
	return p.next
}
