package ablypush

import "fmt"

// key names an event for the set of those that were handled.
func (f failure) key() string {
	if f.id != "" {
		return f.id
	}
	return fmt.Sprintf("%d %d %s", f.at.UnixMilli(), f.code, f.device)
}

// seen remembers at least the last max keys, and twice as many at most.
type seen struct {
	max        int
	young, old map[string]struct{}
}

// add reports whether key is new.
func (s *seen) add(key string) bool {
	if _, ok := s.young[key]; ok {
		return false
	}
	_, known := s.old[key]
	if s.young == nil || len(s.young) >= s.max {
		s.old, s.young = s.young, make(map[string]struct{})
	}
	s.young[key] = struct{}{}
	return !known
}
