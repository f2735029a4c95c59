package project

import (
	"cmp"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/postern-gateway/postern/adapter/model"
	"github.com/postern-gateway/postern/internal/nearest"
)

// report collects problems; the zero value is ready. It is not safe for concurrent use.
type report struct {
	problems []model.Problem
	told     [2]int // how many of each severity
}

// maxProblems of each severity are told of one file: who mends the first sees the others next.
const maxProblems = 1000

// refuse records why the project cannot be served.
func (r *report) refuse(at model.Origin, code, format string, args ...any) {
	r.record(model.Refused, at, code, format, args)
}

// warn records what somebody should look at.
func (r *report) warn(at model.Origin, code, format string, args ...any) {
	r.record(model.Warning, at, code, format, args)
}

func (r *report) record(severity model.Severity, at model.Origin, code, format string, args []any) {
	r.told[severity]++
	switch told := r.told[severity]; {
	case told <= maxProblems:
		r.problems = append(r.problems, model.Problem{Origin: at, Severity: severity, Code: code, Message: fmt.Sprintf(format, args...)})
	case told == maxProblems+1:
		r.problems = append(r.problems, model.Problem{
			Origin: originOf(at.File), Severity: severity, Code: "more-problems", Message: "there are more problems like these; mend some of them first",
		})
	}
}

// add records an error that may be a problem itself.
func (r *report) add(file string, err error) {
	p, ok := err.(model.Problem)
	if !ok {
		p = model.Problem{Origin: originOf(file), Code: "unreadable", Message: err.Error()}
	}
	r.record(p.Severity, p.Origin, p.Code, "%s", []any{p.Message})
}

// sorted are the problems in the order of the files, each once: what several operations share is read several times.
func sorted(problems []model.Problem) []model.Problem {
	slices.SortStableFunc(problems, func(a, b model.Problem) int {
		return cmp.Or(
			cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column),
			cmp.Compare(a.Pointer, b.Pointer), cmp.Compare(a.Code, b.Code), cmp.Compare(a.Message, b.Message))
	})
	return slices.Compact(problems)
}

// didYouMean is ` (did you mean "x"?)` for the known name nearest to name, or "" if none is near.
func didYouMean(name string, known iter.Seq[string]) string {
	if near := closest(name, known); near != "" {
		return fmt.Sprintf(" (did you mean %q?)", near)
	}
	return ""
}

// closest is the known name with the fewest edits from name, case aside; "" if more than a third would have to change.
func closest(name string, known iter.Seq[string]) string {
	var names []string
	for k := range known {
		if names = append(names, k); len(names) > 1000 || len(name) > 100 {
			return "" // not worth the time
		}
	}
	slices.Sort(names) // why: of two as near, always the same is told
	best, fewest := "", max(2, len(name)/3)+1
	word := strings.ToLower(name)
	for _, k := range names {
		other := strings.ToLower(k)
		if longer := len(other) - len(word); max(longer, -longer) >= fewest {
			continue // so many bytes would have to come or go
		}
		if d := nearest.Distance(word, other); d < fewest {
			best, fewest = k, d
		}
	}
	return best
}

// quoted lists names for a sentence: "a", "b".
func quoted(names []string) string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = fmt.Sprintf("%q", n)
	}
	return strings.Join(out, ", ")
}
