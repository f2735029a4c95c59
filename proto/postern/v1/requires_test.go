package posternv1

import (
	"maps"
	"slices"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// known are the fields that every reader understands, by message. A reader that is older than a field does not see it, so
// that a rule could be served without it: whoever adds a field that asks for more, or changes an answer, adds a word to
// `requires` of each resource that uses it (wire.go), and writes the word behind the field here. "" is a field from the
// beginning, or one that does no harm when it is not seen; say which.
var known = map[protoreflect.FullName]map[protoreflect.Name]string{
	"postern.v1.Policy": {"api": "", "operations": "", "requires": ""},
	"postern.v1.OperationPolicy": {
		"operation": "", "alternatives": "", "forward_credentials": "", "identity_headers": "",
	},
	"postern.v1.Alternative": {"requirements": ""},
	"postern.v1.Requirement": {"scheme": "", "bearer": RequiresBearer, "scopes": "", "any_scope": ""},
	"postern.v1.Bearer":      {"place": "", "key": ""},
	"postern.v1.Issuer": {
		"issuer": "", "audiences": "", "jwks_uri": "", "jwks": "", "certificate": "", "discovery": "", "algorithms": "", "leeway_ms": "",
		"required_claims": "", "subject_claim": "", "scopes_claim": "", "client_claim": "", "key_type_claim": "", "requires": "",
	},
	"postern.v1.Limits": {"api": "", "rules": RequiresFixedWindow, "requires": ""},
	"postern.v1.LimitRule": {
		"id": "", "name": "", "counter": "", "limit": "", "window_seconds": "", "code": "", "shadow": "", "operation": "",
	},
	"postern.v1.Probe": {"api": "", "checks": "", "requires": ""},
	"postern.v1.Check": {"operation": "", "method": "", "host": "", "path": "", "policy": "", "clusters": ""},
}

// TestNoFieldIsIgnoredByOlderReaders: each field was thought about.
func TestNoFieldIsIgnoredByOlderReaders(t *testing.T) {
	found := map[protoreflect.FullName]bool{}
	for _, file := range []protoreflect.FileDescriptor{File_postern_v1_policy_proto, File_postern_v1_limit_proto, File_postern_v1_probe_proto} {
		for i := range file.Messages().Len() {
			m := file.Messages().Get(i)
			found[m.FullName()] = true
			for j := range m.Fields().Len() {
				f := m.Fields().Get(j)
				if _, ok := known[m.FullName()][f.Name()]; !ok {
					t.Errorf("%s is new: which word do the resources require that use it? Say so in known", f.FullName())
				}
			}
			if n := m.Fields().Len(); n < len(known[m.FullName()]) {
				t.Errorf("%s has lost a field that older builds may still send", m.FullName())
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(known)) {
		if !found[name] {
			t.Errorf("%s is gone, which older builds may still send", name)
		}
	}
}
