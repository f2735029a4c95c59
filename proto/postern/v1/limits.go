package posternv1

import (
	"strconv"

	"google.golang.org/protobuf/proto"
)

// NameLimits fills in the ids of the rules and returns the resource's name. Ids repeat the name's first 16 digits, so the
// name is the hash of the content with the rules' positions in place of their ids; then these become "<16 digits>/<position>".
// Whatever ids were there before are replaced: a reader proves name and ids by naming a clone.
func NameLimits(l *Limits) string {
	for i, r := range l.GetRules() {
		r.Id = strconv.Itoa(i)
	}
	name := ContentHash(l)
	for _, r := range l.GetRules() {
		r.Id = name[:16] + "/" + r.Id
	}
	return name
}

// ProvesLimits says whether name and the rules' ids are those of the content.
func ProvesLimits(name string, l *Limits) bool {
	named, ok := proto.Clone(l).(*Limits)
	return ok && NameLimits(named) == name && proto.Equal(named, l)
}
