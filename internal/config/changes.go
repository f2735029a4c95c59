package config

import (
	"reflect"
	"slices"
)

// Files are what would have to be read again to learn of a change of what Issuers says: the configuration itself, whether
// it is there or not, and the files of keys it names.
func (c *Config) Files() []string {
	files := []string{c.file}
	for _, issuer := range c.TokenIssuers {
		for _, path := range []string{issuer.JWKS.File, issuer.JWKS.Certificate} {
			if path = c.path("issuers", path); path != "" && !slices.Contains(files, path) {
				files = append(files, path)
			}
		}
	}
	return files
}

// Read says whether there was a file.
func (c *Config) Read() bool { return c.read }

// Changed are the keys that a part reads and of which the value is another in b than in a, in the order of the file; lists
// and maps count as one.
func Changed(part Part, a, b *Config) []string {
	keys := changed(reflect.ValueOf(a).Elem(), reflect.ValueOf(b).Elem(), "")
	return slices.DeleteFunc(keys, func(key string) bool { return !part.reads(key) })
}

func changed(a, b reflect.Value, path string) (keys []string) {
	for _, f := range fieldsOf(a.Type()) {
		x, y, p := a.Field(f.index), b.Field(f.index), join(path, f.key)
		switch {
		case kindOf(f.typ) == section:
			keys = append(keys, changed(x, y, p)...)
		case !reflect.DeepEqual(x.Interface(), y.Interface()):
			keys = append(keys, p)
		}
	}
	return keys
}
