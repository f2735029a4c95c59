package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"github.com/spf13/viper"
	"go.yaml.in/yaml/v3"
)

// DefaultFile is read when no other is named, if it is there.
const DefaultFile = "postern.yaml"

// Options are the sources of the configuration.
type Options struct {
	Path     string                      // "" is DefaultFile, if it is there
	Lookup   func(string) (string, bool) // the environment; nil is os.LookupEnv
	Environ  []string                    // its NAME=value pairs, to find misspelt names in; nil finds none
	Flags    *pflag.FlagSet              // made by Flags; nil is none
	Dev      bool                        // --dev: the data plane listens on the loopback only
	Insecure bool                        // --insecure: other listeners may leave the loopback without TLS
	Part     Part                        // who reads it
}

// loader gathers what the sources say. Scalars are viper's: it knows the precedence of flag, file and default. Lists
// and maps are kept as YAML nodes, because viper lower-cases the keys inside them.
type loader struct {
	Options
	scalars  *viper.Viper
	nodes    map[string]*yaml.Node
	origins  map[string]at
	problems []error
	warnings []string
	judging  bool // what was read makes sense as such; now it is judged by what the part makes of it
}

// Load resolves the configuration. The error joins every problem there is; the warnings are worth showing.
func Load(o Options) (*Config, []string, error) {
	if o.Lookup == nil {
		o.Lookup = os.LookupEnv
	}
	l := &loader{Options: o, scalars: viper.New(), nodes: map[string]*yaml.Node{}, origins: map[string]at{}}
	c := &Config{origins: l.origins}
	l.readDefaults()
	path, there, err := l.readFile()
	if err != nil {
		return nil, nil, err
	}
	c.read, c.file, c.dir = there, path, filepath.Dir(path)
	l.readEnvironment()
	l.bindFlags()
	l.resolve(reflect.ValueOf(c).Elem(), "")
	if len(l.problems) == 0 {
		l.finish(c)
		l.check(c)
	}
	if len(l.problems) > 0 {
		return nil, l.warnings, errors.Join(l.problems...)
	}
	return c, l.warnings, nil
}

func (l *loader) problem(place at, path, format string, args ...any) {
	if l.judging && !l.Part.reads(path) {
		return
	}
	text := fmt.Sprintf(format, args...)
	if path != "" {
		text = path + ": " + text
	}
	if place.source != "" {
		text = place.String() + ": " + text
	}
	l.problems = append(l.problems, errors.New(text))
}

func (l *loader) readDefaults() {
	root, err := parse(defaults)
	if err != nil {
		panic("config: the documented defaults: " + err.Error()) // they are compiled in and tested
	}
	l.say(root, reflect.TypeFor[Config](), "", at{source: "default", file: true}, func(path, text string) {
		l.scalars.SetDefault(path, text)
	})
	clear(l.origins)
	if l.Dev {
		l.scalars.SetDefault("listen.http", "127.0.0.1:9090")
	}
}

func (l *loader) readFile() (path string, there bool, err error) {
	path = l.Path
	if path == "" {
		path = DefaultFile
	}
	text, err := os.ReadFile(path)
	if l.Path == "" && errors.Is(err, fs.ErrNotExist) {
		return path, false, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("configuration: %w", err)
	}
	root, err := parse(text)
	if err != nil {
		return "", false, fmt.Errorf("%s: %w", path, err)
	}
	if root != nil {
		l.say(root, reflect.TypeFor[Config](), "", at{source: path, file: true}, l.override)
	}
	return path, true, nil
}

// parse reads one YAML document; an empty one is nil.
func parse(text []byte) (*yaml.Node, error) {
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	var document, second yaml.Node
	if err := decoder.Decode(&document); errors.Is(err, io.EOF) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	if err := decoder.Decode(&second); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one YAML document; only one is read")
	}
	return document.Content[0], nil
}

// say takes what a mapping says about the keys of t, scalars through set.
func (l *loader) say(n *yaml.Node, t reflect.Type, path string, source at, set func(path, text string)) {
	if unsaid(n) || !l.want(n, yaml.MappingNode, source.in(n), path, "keys with values") {
		return
	}
	for _, e := range l.entries(n, t, path, source) {
		p, place := join(path, e.field.key), source.in(e.node)
		if unsaid(e.node) {
			continue
		}
		switch kindOf(e.field.typ) {
		case section:
			l.say(e.node, e.field.typ, p, source, set)
		case collection:
			l.nodes[p], l.origins[p] = e.node, place
		case scalar:
			if !l.want(e.node, yaml.ScalarNode, place, p, "one value") {
				continue
			}
			if text, ok := l.expand(e.node.Value, p, &place); ok {
				set(p, text)
				l.origins[p] = place
			}
		}
	}
}

// override puts a value over the defaults and over what was said before.
func (l *loader) override(path, text string) {
	var nested any = text
	keys := strings.Split(path, ".")
	for _, key := range slices.Backward(keys) {
		nested = map[string]any{key: nested}
	}
	if err := l.scalars.MergeConfigMap(nested.(map[string]any)); err != nil {
		panic("config: " + err.Error()) // it only refuses what is not a map
	}
}

// resolve fills v, a section, with what holds.
func (l *loader) resolve(v reflect.Value, path string) {
	for _, f := range fieldsOf(v.Type()) {
		p, target := join(path, f.key), v.Field(f.index)
		place, said := l.origins[p]
		if !said {
			place = at{source: "default"}
		}
		switch kindOf(f.typ) {
		case section:
			l.resolve(target, p)
		case collection:
			if n := l.nodes[p]; n != nil {
				l.decode(n, target, f.tag, p, place)
			}
		case scalar:
			l.assign(target, f.tag, l.scalars.GetString(p), p, place)
		}
	}
}

var variable = regexp.MustCompile(`\$\{([^}]*)\}`)

// expand puts the values of ${POSTERN_VAR_NAME} and ${POSTERN_VAR_NAME:-default} into text, and notes in place that it did.
// It is not ok where there is no value to be had, or nobody wants one: then the key stays as it is.
func (l *loader) expand(text, path string, place *at) (string, bool) {
	ok := l.Part.reads(path) || !variable.MatchString(text)
	if !ok {
		return "", false
	}
	expanded := variable.ReplaceAllStringFunc(text, func(match string) string {
		place.expanded = true
		name, fallback, hasFallback := strings.Cut(match[2:len(match)-1], ":-")
		if !strings.HasPrefix(name, "POSTERN_VAR_") {
			l.problem(*place, path, "%s: only variables whose names begin with POSTERN_VAR_ are read", match)
			ok = false
			return ""
		}
		value, found, err := l.environment(name)
		switch {
		case err != nil:
			l.problem(*place, path, "%v", err)
			ok = false
		case !found && !hasFallback:
			l.problem(*place, path, "%s is not set; set it in the environment, or write ${%s:-a default}", name, name)
			ok = false
		case !found:
			value = fallback
		}
		return value
	})
	return expanded, ok
}
