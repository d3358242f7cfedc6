package console

import (
	"slices"
	"time"
)

// Remember takes a sample as of another moment, so that a test need not wait for
// a history. What was sampled after that moment is forgotten.
func (c *Console) Remember(at time.Time) error {
	families, err := c.gatherer.Gather()
	c.samples.mu.Lock()
	c.samples.list = slices.DeleteFunc(slices.Clone(c.samples.list), func(s sample) bool { return s.at.After(at) })
	c.samples.mu.Unlock()
	c.samples.add(at, families)
	return err
}
