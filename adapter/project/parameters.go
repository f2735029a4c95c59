package project

import (
	"slices"
	"strconv"
	"strings"

	"github.com/postern-gateway/postern/adapter/model"
)

// undeclared are the parameters of paths that nothing declares.
type undeclared struct {
	name  string
	at    model.Origin // of the first
	paths int
}

// pathParameters looks for parameters of a path's template that some operation of it does not declare, and warns of
// those declared that the template has not: whoever makes a client of the definition fails.
func (d *definition) pathParameters(path, item *node) {
	var names []string
	for segment := range strings.SplitSeq(path.key, "/") {
		if name, ok := strings.CutPrefix(segment, "{"); ok {
			names = append(names, strings.TrimSuffix(name, "}"))
		}
	}
	shared, known := d.declared(item, names)
	if !known {
		return
	}
	for _, method := range methods {
		own, known := d.declared(item.get(method), names)
		if !known {
			continue
		}
		for _, name := range names {
			if slices.Contains(shared, name) || slices.Contains(own, name) {
				continue
			}
			if d.undeclared.paths++; d.undeclared.paths == 1 {
				d.undeclared.name, d.undeclared.at = name, item.get(method).keyAt()
			}
			return // one of a path is enough
		}
	}
}

// warnUndeclared warns once: where path parameters are not declared at all, that is a habit and not a slip.
func (d *definition) warnUndeclared() {
	if u := d.undeclared; u.paths > 0 {
		d.warn(u.at, "undeclared-parameter", "this operation%s does not declare the parameter {%s} of its path; add it to parameters, with in: path and required: true", alike(u.paths-1), u.name)
	}
}

func alike(paths int) string {
	switch paths {
	case 0:
		return ""
	case 1:
		return ", like one of another path,"
	}
	return ", like those of " + strconv.Itoa(paths) + " other paths,"
}

// declared are the path parameters that n, a path or an operation, declares. Those that the template has not are warned
// of, and count as those they are meant to be. Known is false where none can be read.
func (d *definition) declared(n *node, template []string) (names []string, known bool) {
	parameters := n.get("parameters")
	if n == nil || n.kind != object || parameters != nil && parameters.kind != list {
		return nil, false
	}
	for _, entry := range parameters.items() {
		parameter, err := d.documents.deref(entry)
		if err != nil {
			return nil, false // refused elsewhere
		}
		name, in := parameter.get("name").text(), parameter.get("in").scalar()
		inTemplate := slices.Contains(template, name)
		switch {
		case in == "path" && !inTemplate && name != "":
			d.warn(entry.at(), "unknown-parameter", "the path has no {%s}%s; rename one of them, or remove the parameter", name, didYouMean(name, slices.Values(template)))
			names = append(names, closest(name, slices.Values(template)))
		case in == "path":
			names = append(names, name)
		case inTemplate && !slices.Contains([]string{"query", "header", "cookie", "body", "formData"}, in):
			d.warn(entry.at(), "unknown-value", "the parameter %s is part of its path; write in: path", name)
			names = append(names, name)
		}
	}
	return names, true
}
