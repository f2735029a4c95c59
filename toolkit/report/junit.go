package report

import (
	"encoding/xml"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/postern-gateway/postern/adapter/model"
)

// The JUnit format has no standard; this is the part that all CI systems read.
type (
	testSuites struct {
		XMLName  xml.Name    `xml:"testsuites"`
		Name     string      `xml:"name,attr"`
		Tests    int         `xml:"tests,attr"`
		Failures int         `xml:"failures,attr"`
		Suites   []testSuite `xml:"testsuite"`
	}
	testSuite struct {
		Name     string     `xml:"name,attr"`
		Tests    int        `xml:"tests,attr"`
		Failures int        `xml:"failures,attr"`
		Errors   int        `xml:"errors,attr"`
		Skipped  int        `xml:"skipped,attr"`
		Time     string     `xml:"time,attr"`
		Cases    []testCase `xml:"testcase"`
	}
	testCase struct {
		Class   string   `xml:"classname,attr"`
		Name    string   `xml:"name,attr"`
		File    string   `xml:"file,attr,omitempty"`
		Line    int      `xml:"line,attr,omitempty"`
		Time    string   `xml:"time,attr"`
		Failure *failure `xml:"failure"`
		Output  string   `xml:"system-out,omitempty"`
	}
	failure struct {
		Type    string `xml:"type,attr"`
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
)

// junit makes a suite of each file of a project, definitions first of all, and a case of each problem: a warning is a
// case that passes, and so is a definition without problems.
func junit(w io.Writer, projects []Project) error {
	all := testSuites{Name: "postern validate"}
	for _, r := range projects {
		for _, file := range filesOf(r) {
			s := suiteOf(r, file)
			all.Suites = append(all.Suites, s)
			all.Tests += s.Tests
			all.Failures += s.Failures
		}
	}
	text, err := xml.MarshalIndent(all, "", "  ")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s%s\n", xml.Header, text)
	return err
}

// filesOf are the files of a project that there is something to say of; "" is the project as a whole.
func filesOf(r Project) []string {
	var files []string
	for _, a := range r.APIs {
		files = append(files, a.File)
	}
	for _, p := range r.Problems {
		files = append(files, p.File)
	}
	if len(files) == 0 {
		files = []string{""}
	}
	slices.Sort(files)
	return slices.Compact(files)
}

func suiteOf(r Project, file string) testSuite {
	whole := At(r.Path, model.Problem{Origin: model.Origin{File: file}}).File
	class := strings.ReplaceAll(strings.Trim(strings.TrimSuffix(whole, path.Ext(whole)), "/"), "/", ".") // CI systems make packages of the dots
	s := testSuite{Name: whole, Time: "0"}
	for _, p := range r.Problems {
		if p.File != file {
			continue
		}
		c := caseOf(class, At(r.Path, p))
		if c.Failure != nil {
			s.Failures++
		}
		s.Cases = append(s.Cases, c)
	}
	if len(s.Cases) == 0 {
		s.Cases = []testCase{{Class: class, Name: "valid", File: whole, Time: "0"}}
	}
	s.Tests = len(s.Cases)
	return s
}

func caseOf(class string, p model.Problem) testCase {
	name := p.Code
	if p.Pointer != "" {
		name += " " + p.Pointer // why not the line: CI systems compare names between runs
	}
	c := testCase{Class: class, Name: name, File: p.File, Line: p.Line, Time: "0"}
	if p.Severity == model.Refused {
		c.Failure = &failure{Type: p.Code, Message: p.Message, Text: p.Error()}
	} else {
		c.Output = "warning: " + p.Error()
	}
	return c
}
