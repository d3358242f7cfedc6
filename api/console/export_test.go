package console

import (
	"slices"
	"time"
)

// Remember takes a sample as of another moment, so that a test need not wait for
// a history. It takes its place among those that are there already.
func (c *Console) Remember(at time.Time) error {
	families, err := c.gatherer.Gather()
	c.samples.add(at, families)
	c.samples.mu.Lock()
	defer c.samples.mu.Unlock()
	list := slices.Clone(c.samples.list)
	slices.SortStableFunc(list, func(a, b sample) int { return a.at.Compare(b.at) })
	c.samples.list = list
	return err
}
