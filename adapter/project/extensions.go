package project

import (
	"maps"
	"slices"
	"strings"
)

// level is where in a definition an extension stands.
type level uint8

const (
	atAPI level = 1 << iota
	atPath
	atOperation

	everywhere = atAPI | atPath | atOperation
)

func (l level) String() string {
	var words []string
	for at, word := range map[level]string{atAPI: "the document's root", atPath: "a path", atOperation: "an operation"} {
		if l&at != 0 {
			words = append(words, word)
		}
	}
	slices.SortFunc(words, func(a, b string) int { return strings.Compare(b, a) }) // the root, a path, an operation
	return strings.Join(words, " or ")
}

// extension is what is known about one x- key (compat.md §1, design §3.3).
type extension struct {
	levels level
	kinds  []kind
	// strict: a value of the wrong type is refused, because to go on without it would weaken security or change answers.
	strict bool
	// unserved says what this build does not do; "" if it serves the key.
	unserved string
	// refused: to ignore the key would weaken security or change answers.
	refused bool
}

// extensions are all known keys. A key allowed at an operation is allowed at a path too.
var extensions = map[string]extension{
	"x-wso2-basePath":                         {levels: atAPI, kinds: []kind{text}, strict: true},
	"x-wso2-production-endpoints":             {levels: everywhere, kinds: []kind{object, text}, strict: true},
	"x-wso2-sandbox-endpoints":                {levels: everywhere, kinds: []kind{object, text}, strict: true},
	"x-wso2-endpoints":                        {levels: atAPI, kinds: []kind{list}, strict: true},
	"x-wso2-cors":                             {levels: atAPI, kinds: []kind{object}},
	"x-wso2-throttling-tier":                  {levels: everywhere, kinds: []kind{text, number}, strict: true},
	"x-throttling-tier":                       {levels: everywhere, kinds: []kind{text, number}, strict: true},
	"x-wso2-disable-security":                 {levels: everywhere, kinds: []kind{boolean}},
	"x-auth-type":                             {levels: everywhere, kinds: []kind{text}},
	"x-wso2-auth-header":                      {levels: atAPI, kinds: []kind{text}},
	"x-wso2-application-security":             {levels: everywhere, kinds: []kind{object}, strict: true},
	"x-wso2-transports":                       {levels: atAPI, kinds: []kind{list}},
	"x-wso2-http2-backend-enabled":            {levels: atAPI, kinds: []kind{boolean}},
	"x-wso2-label":                            {levels: atAPI, kinds: []kind{text, list}, unserved: "labels are said in project.yaml, for the whole project"},
	"x-wso2-owner":                            {levels: atAPI, kinds: []kind{text}, unserved: "there are no analytics yet that could name an owner"},
	"x-wso2-mutual-ssl":                       {levels: atAPI, kinds: []kind{text}, strict: true, refused: true, unserved: "no client is asked for a certificate"},
	"x-wso2-request-interceptor":              {levels: everywhere, kinds: []kind{object, text}, strict: true, refused: true, unserved: "requests are not handed to interceptors"},
	"x-wso2-response-interceptor":             {levels: everywhere, kinds: []kind{object, text}, strict: true, refused: true, unserved: "responses are not handed to interceptors"},
	"x-wso2-response-cache":                   {levels: atAPI, kinds: []kind{object}, unserved: "responses are not cached"},
	"x-wso2-api-key-header":                   {levels: atAPI, kinds: []kind{text}, unserved: "API keys are not served"},
	"x-amzn-resource-name":                    {levels: everywhere, kinds: []kind{text}, unserved: "Lambda functions are not called"},
	"x-uri-mapping":                           {levels: everywhere, kinds: []kind{text}, unserved: "WebSocket paths are not mapped"},
	"x-mediation-script":                      {levels: everywhere, unserved: "mediation scripts are not run"},
	"x-scopes":                                {levels: everywhere, unserved: "scopes are said in the security requirements"},
	"x-postern-scopes":                        {levels: everywhere, kinds: []kind{text}, strict: true},
	"x-postern-token":                         {levels: everywhere, kinds: []kind{object}, strict: true},
	"x-postern-limits":                        {levels: everywhere, kinds: []kind{list}, strict: true},
	"x-postern-forward-credentials":           {levels: everywhere, kinds: []kind{boolean}, strict: true},
	"x-postern-identity-headers":              {levels: everywhere, kinds: []kind{object}, strict: true},
	"x-postern-proof":                         {levels: everywhere, strict: true, refused: true, unserved: "no proof of possession is asked for"},
	"x-postern-authorize":                     {levels: everywhere, strict: true, refused: true, unserved: "expressions are not evaluated"},
	"x-postern-allow-ips":                     {levels: everywhere, strict: true, refused: true, unserved: "callers are not told apart by address"},
	"x-postern-deny-ips":                      {levels: everywhere, strict: true, refused: true, unserved: "callers are not told apart by address"},
	"x-postern-state":                         {levels: everywhere, kinds: []kind{text}, strict: true},
	"x-postern-deprecated":                    {levels: everywhere, kinds: []kind{boolean, text}, strict: true},
	"x-postern-deprecation-link":              {levels: everywhere, kinds: []kind{text}},
	"x-postern-sunset":                        {levels: everywhere, kinds: []kind{text}, strict: true},
	"x-wso2-pass-request-payload-to-enforcer": {levels: atAPI, kinds: []kind{boolean}, unserved: "no policy reads bodies"},
}

// ours are the prefixes under which every key is meant for a gateway, so that an unknown one is worth a word.
var ours = []string{"x-wso2-", "x-postern-", "x-mgw-"}

// lint reports the extensions at n that are unknown, misplaced, of the wrong type, or not served.
func (d *definition) lint(n *node, at level) {
	for _, m := range n.fields() {
		known, ok := extensions[m.key]
		switch {
		case !ok:
			d.unknownExtension(m)
		case known.levels&at == 0:
			d.warn(m.keyAt(), "misplaced-extension", "%s has no effect at %s; move it to %s", m.key, at, known.levels)
		case known.unserved != "" && known.refused:
			d.refuse(m.keyAt(), "not-served", "this build does not serve %s: %s; remove it, or serve this API with a build that does", m.key, known.unserved)
		case known.unserved != "":
			d.warn(m.keyAt(), "not-served", "%s has no effect in this build: %s", m.key, known.unserved)
		case !known.takes(m):
			d.wrongType(m, known)
		}
	}
}

func (e extension) takes(n *node) bool { return len(e.kinds) == 0 || slices.Contains(e.kinds, n.kind) }

func (d *definition) wrongType(m *node, known extension) {
	if known.strict {
		d.refuse(m.at(), "wrong-type", "%s must be %s, but %s stands here%s", m.key, orOf(known.kinds), m.kind, instead(m, known.kinds))
		return
	}
	d.warn(m.at(), "wrong-type", "%s must be %s, but %s stands here and has no effect%s", m.key, orOf(known.kinds), m.kind, instead(m, known.kinds))
}

func (d *definition) unknownExtension(m *node) {
	i := slices.IndexFunc(ours, func(prefix string) bool { return strings.HasPrefix(strings.ToLower(m.key), prefix) })
	if i < 0 {
		return
	}
	if name, old := strings.CutPrefix(m.key, "x-mgw-"); old {
		if _, known := extensions["x-wso2-"+name]; known {
			d.warn(m.keyAt(), "old-extension", "%s is the name from before 3.0 and has no effect; write %s", m.key, "x-wso2-"+name)
			return
		}
	}
	d.warn(m.keyAt(), "unknown-extension", "nobody knows %s; it has no effect%s", m.key, didYouMean(m.key, maps.Keys(extensions)))
}

// place is an operation with what encloses it; extensions at the inner level win.
type place struct {
	api, path, operation *node
}

// inner finds an extension at the innermost level that has it, if it is of a type it can have there.
func (p place) inner(key string) (*node, level) {
	known := extensions[key]
	for _, l := range p.levels() {
		if m := l.node.get(key); m != nil && known.levels&l.level != 0 && known.takes(m) {
			return m, l.level
		}
	}
	return nil, 0
}

// leveled is a level of a definition, with the node that stands for it.
type leveled struct {
	level level
	node  *node
}

// levels are the operation, the path and the API, as far as there are.
func (p place) levels() []leveled {
	out := make([]leveled, 0, 3)
	for _, l := range []leveled{{atOperation, p.operation}, {atPath, p.path}, {atAPI, p.api}} {
		if l.node != nil {
			out = append(out, l)
		}
	}
	return out
}

// at finds an extension at this level only.
func (l leveled) at(key string) *node {
	known := extensions[key]
	if m := l.node.get(key); m != nil && known.levels&l.level != 0 && known.takes(m) {
		return m
	}
	return nil
}
