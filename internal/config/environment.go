package config

import (
	"fmt"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/spf13/pflag"

	"github.com/postern-gateway/postern/internal/nearest"
)

// EnvironmentName is the variable that overrides a key: "management.tls.clientCA" is POSTERN_MANAGEMENT_TLS_CLIENT_CA.
func EnvironmentName(path string) string {
	var b strings.Builder
	b.WriteString("POSTERN_")
	letters := []rune(path)
	for i, r := range letters {
		if r == '.' {
			b.WriteByte('_')
			continue
		}
		// A new word begins where an upper case letter follows a lower case one: clientCA, scopeSegment.
		if unicode.IsUpper(r) && i > 0 && unicode.IsLower(letters[i-1]) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToUpper(r))
	}
	return b.String()
}

// environment is the value of a variable, or of the file that NAME_FILE names.
func (l *loader) environment(name string) (string, bool, error) {
	value, set := l.Lookup(name)
	file, fromFile := l.Lookup(name + "_FILE")
	switch {
	case set && fromFile:
		return "", false, fmt.Errorf("both %s and %s_FILE are set; keep one", name, name)
	case !fromFile:
		return value, set, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return "", false, fmt.Errorf("%s_FILE: %w", name, err)
	}
	return strings.TrimRight(string(text), "\r\n"), true, nil
}

// readEnvironment puts what the environment says over the file. Sections, lists and maps are JSON, which YAML contains.
func (l *loader) readEnvironment() {
	known := map[string]bool{}
	for _, p := range paths(reflect.TypeFor[Config](), "") {
		known[EnvironmentName(p)] = true
	}
	l.readVariables(reflect.TypeFor[Config](), "", known)
	for _, pair := range l.Environ {
		name, value, _ := strings.Cut(pair, "=")
		l.warnUnknown(name, value, known)
	}
}

func (l *loader) readVariables(t reflect.Type, path string, known map[string]bool) {
	for _, f := range fieldsOf(t) {
		p := join(path, f.key)
		name := EnvironmentName(p)
		value, set, err := l.environment(name)
		if known[name+"_FILE"] { // POSTERN_API_KEYS_FILE is the key apiKeys.file, not a file that holds apiKeys
			value, set = l.Lookup(name)
			err = nil
		}
		if err != nil {
			l.problem(at{}, "", "%v", err)
		}
		if set && err == nil {
			l.sayVariable(f, p, name, value)
		}
		if kindOf(f.typ) == section { // after the section as a whole: the longer name is the more precise one
			l.readVariables(f.typ, p, known)
		}
	}
}

func (l *loader) sayVariable(f field, path, name, value string) {
	source := at{source: name}
	if kindOf(f.typ) == scalar {
		l.override(path, value)
		l.origins[path] = source
		return
	}
	n, err := parse([]byte(value))
	if err != nil {
		l.problem(source, path, "not JSON: %v", err)
		return
	}
	switch {
	case n == nil:
		return
	case kindOf(f.typ) == section:
		l.say(n, f.typ, path, source, l.override)
	default:
		l.nodes[path], l.origins[path] = n, source
	}
}

// warnUnknown speaks up for a variable that says nothing to us. It is a warning where an unknown key of the file is an
// error, because the environment is not ours alone: an older or newer Postern, or somebody's script, may know the name.
func (l *loader) warnUnknown(name, value string, known map[string]bool) {
	if !strings.HasPrefix(name, "POSTERN_") || strings.HasPrefix(name, "POSTERN_VAR_") || known[strings.TrimSuffix(name, "_FILE")] ||
		others[name] || orchestrated(name, value) {
		return
	}
	for _, k := range slices.Sorted(maps.Keys(known)) {
		if d := nearest.Distance(name, k); d <= 2 && 3*d <= len(k)-len("POSTERN_")+1 {
			l.warnings = append(l.warnings, fmt.Sprintf("%s is not a known variable and changes nothing; did you mean %s?", name, k))
			return
		}
	}
	l.warnings = append(l.warnings, name+" is not a known variable and changes nothing; `postern schema postern.yaml` has all keys")
}

var serviceVariable = regexp.MustCompile(`_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$`)

// orchestrated says whether Kubernetes sets the variable, in every container, for a service whose name begins with postern.
func orchestrated(name, value string) bool {
	return serviceVariable.MatchString(name) || strings.HasSuffix(name, "_PORT") && strings.Contains(value, "://")
}

// others are variables of the command line that are no keys of the file.
var others = map[string]bool{"POSTERN_ENV": true, "POSTERN_CONFIG": true, "POSTERN_TOKEN": true, "POSTERN_SERVER": true}

// FlagName is the flag of a key: "listen.http" is listen-http, "dataDir" is data-dir.
func FlagName(path string) string {
	name := strings.TrimPrefix(EnvironmentName(path), "POSTERN_")
	return strings.ReplaceAll(strings.ToLower(name), "_", "-")
}

// Flags adds a flag for each of the scalar keys that usages describe.
func Flags(set *pflag.FlagSet, usages map[string]string) {
	for key, usage := range usages {
		set.String(FlagName(key), "", usage+" (key "+key+")")
	}
}

// bindFlags lets the flags that were given override everything.
func (l *loader) bindFlags() {
	if l.Flags == nil {
		return
	}
	for _, p := range paths(reflect.TypeFor[Config](), "") {
		flag := l.Flags.Lookup(FlagName(p))
		if flag == nil || !flag.Changed {
			continue
		}
		if err := l.scalars.BindPFlag(p, flag); err != nil {
			panic("config: " + err.Error()) // only a nil flag is refused
		}
		l.origins[p] = at{source: "--" + flag.Name}
	}
}
