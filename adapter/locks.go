package adapter

import "github.com/postern-gateway/postern/adapter/translate"

// locks are what the rollouts under way write and read, by key (translate.Delta), each as often as it is locked.
type locks struct{ writes, reads map[string]int }

func newLocks() locks { return locks{map[string]int{}, map[string]int{}} }

// free says that a delta may be under way beside all that is.
func (l locks) free(d *translate.Delta) bool {
	for _, key := range d.Writes {
		if l.writes[key] > 0 || l.reads[key] > 0 {
			return false
		}
	}
	for _, key := range d.Reads {
		if l.writes[key] > 0 {
			return false
		}
	}
	return true
}

func (l locks) lock(d *translate.Delta)   { l.count(d, 1) }
func (l locks) unlock(d *translate.Delta) { l.count(d, -1) }

func (l locks) count(d *translate.Delta, by int) {
	for keys, counts := range map[*[]string]map[string]int{&d.Writes: l.writes, &d.Reads: l.reads} {
		for _, key := range *keys {
			if counts[key] += by; counts[key] == 0 {
				delete(counts, key)
			}
		}
	}
}
