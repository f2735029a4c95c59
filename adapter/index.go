package adapter

import "slices"

// index finds paths by a key, and keys in order. Several paths may have one key. Its zero value is empty.
type index struct {
	keys  []string            // sorted
	paths map[string][]string // by key; sorted
}

func (x *index) add(key, path string) {
	if x.paths == nil {
		x.paths = map[string][]string{}
	}
	if len(x.paths[key]) == 0 {
		i, _ := slices.BinarySearch(x.keys, key)
		x.keys = slices.Insert(x.keys, i, key)
	}
	if i, there := slices.BinarySearch(x.paths[key], path); !there {
		x.paths[key] = slices.Insert(x.paths[key], i, path)
	}
}

func (x *index) remove(key, path string) {
	i, there := slices.BinarySearch(x.paths[key], path)
	if !there {
		return
	}
	if x.paths[key] = slices.Delete(x.paths[key], i, i+1); len(x.paths[key]) > 0 {
		return
	}
	delete(x.paths, key)
	if i, there := slices.BinarySearch(x.keys, key); there {
		x.keys = slices.Delete(x.keys, i, i+1)
	}
}

// after are at most limit keys that come after one.
func (x *index) after(key string, limit int) []string {
	i, there := slices.BinarySearch(x.keys, key)
	if there {
		i++
	}
	return slices.Clone(x.keys[i:min(i+limit, len(x.keys))])
}
