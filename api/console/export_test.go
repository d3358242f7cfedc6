package console

import "time"

// Remember takes a sample as of another moment, so that a test need not wait for
// a history.
func (c *Console) Remember(at time.Time) error {
	families, err := c.gatherer.Gather()
	c.samples.add(at, families)
	return err
}
