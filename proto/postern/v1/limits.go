package posternv1

import (
	"strconv"

	"google.golang.org/protobuf/proto"
)

// NameLimits fills in the ids of the rules and returns the resource's name. The name is the hash of the content without
// the ids, since they repeat its first 16 digits: "<16 digits>/<position>". Whatever ids were there before are replaced, so
// that a reader proves name and ids by naming a clone.
func NameLimits(l *Limits) string {
	for _, r := range l.GetRules() {
		r.Id = ""
	}
	name := ContentHash(l)
	for i, r := range l.GetRules() {
		r.Id = name[:16] + "/" + strconv.Itoa(i)
	}
	return name
}

// ProvesLimits says whether name and the rules' ids are those of the content.
func ProvesLimits(name string, l *Limits) bool {
	named, ok := proto.Clone(l).(*Limits)
	return ok && NameLimits(named) == name && proto.Equal(named, l)
}
