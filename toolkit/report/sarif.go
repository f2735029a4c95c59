package report

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/postern-gateway/postern/adapter/model"
)

// rules.json is what each code can say, in the words of docs/reference/problems.md; `make generate` writes both.
//
//go:embed rules.json
var rulesJSON []byte

// The part of SARIF 2.1.0 (OASIS) that code hosts show beside a change.
type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool       sarifTool       `json:"tool"`
		Automation sarifAutomation `json:"automationDetails"`
		// ColumnKind: columns are counted in characters.
		ColumnKind string        `json:"columnKind"`
		Results    []sarifResult `json:"results"`
	}
	sarifAutomation struct {
		ID string `json:"id"`
	}
	sarifTool struct {
		Driver sarifDriver `json:"driver"`
	}
	sarifDriver struct {
		Name  string      `json:"name"`
		Rules []sarifRule `json:"rules"`
	}
	sarifRule struct {
		ID      string       `json:"id"`
		Short   sarifText    `json:"shortDescription"`
		Help    sarifText    `json:"help"`
		Default sarifDefault `json:"defaultConfiguration"`
	}
	sarifDefault struct {
		Level string `json:"level"`
	}
	sarifResult struct {
		RuleID    string          `json:"ruleId"`
		RuleIndex int             `json:"ruleIndex"`
		Level     string          `json:"level"`
		Message   sarifText       `json:"message"`
		Locations []sarifLocation `json:"locations"`
		// Fingerprints keep a finding the same one while lines above it come and go.
		Fingerprints map[string]string `json:"partialFingerprints"`
	}
	sarifText struct {
		Text string `json:"text"`
	}
	sarifLocation struct {
		Physical sarifPhysical  `json:"physicalLocation"`
		Logical  []sarifLogical `json:"logicalLocations,omitempty"`
	}
	sarifPhysical struct {
		Artifact sarifArtifact `json:"artifactLocation"`
		Region   *sarifRegion  `json:"region,omitempty"`
	}
	sarifArtifact struct {
		URI string `json:"uri"` // relative to where the command was called, in a checkout its root
	}
	sarifRegion struct {
		StartLine   int `json:"startLine"`
		StartColumn int `json:"startColumn,omitempty"`
	}
	sarifLogical struct {
		Name string `json:"fullyQualifiedName"`
	}
)

// rule is what a code means.
type rule struct {
	Level string   `json:"level"`
	Says  []string `json:"says"`
}

func sarif(w io.Writer, projects []Project) error {
	var known map[string]rule
	if err := json.Unmarshal(rulesJSON, &known); err != nil {
		return fmt.Errorf("rules.json: %w", err)
	}
	run := sarifRun{
		Tool:       sarifTool{sarifDriver{Name: "postern", Rules: []sarifRule{}}},
		Automation: sarifAutomation{"postern/validate/"}, ColumnKind: "unicodeCodePoints", Results: []sarifResult{},
	}
	var codes []string
	for _, r := range projects {
		for _, p := range r.Problems {
			codes = append(codes, p.Code)
		}
	}
	slices.Sort(codes)
	codes = slices.Compact(codes)
	for _, code := range codes {
		run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, ruleOf(code, known[code]))
	}
	for _, r := range projects {
		seen := map[string]int{}
		for _, p := range r.Problems {
			run.Results = append(run.Results, resultOf(r.Path, p, slices.Index(codes, p.Code), seen))
		}
	}
	return indented(w, sarifLog{
		Schema: "https://json.schemastore.org/sarif-2.1.0.json", Version: "2.1.0", Runs: []sarifRun{run},
	})
}

func ruleOf(code string, r rule) sarifRule {
	short := strings.ReplaceAll(code, "-", " ")
	help := "docs/reference/problems.md lists what each code means."
	if len(r.Says) > 0 {
		help = "It says, with the words of the definition for the dots:\n- " + strings.Join(r.Says, "\n- ") + "\n\n" + help
	}
	level := r.Level
	if level == "" {
		level = "error"
	}
	return sarifRule{ID: code, Short: sarifText{short}, Help: sarifText{help}, Default: sarifDefault{level}}
}

func resultOf(project string, p model.Problem, rule int, seen map[string]int) sarifResult {
	l, message := sarifLocation{}, p.Message
	switch {
	case strings.HasSuffix(project, ".zip"): // why: a code host can show the archive, and nothing in it
		l.Physical.Artifact.URI = uri(project)
		if place := p.Origin.String(); place != "" {
			message = place + ": " + message
		}
	default:
		l.Physical.Artifact.URI = uri(At(project, p).File)
		if p.Line > 0 {
			l.Physical.Region = &sarifRegion{p.Line, p.Column}
		}
	}
	if p.Pointer != "" {
		l.Logical = []sarifLogical{{p.Pointer}}
	}
	return sarifResult{p.Code, rule, p.Severity.String(), sarifText{message}, []sarifLocation{l}, fingerprint(project, p, seen)}
}

// fingerprint is made of all but the line; problems that are the same in all else are numbered.
func fingerprint(project string, p model.Problem, seen map[string]int) map[string]string {
	sum := sha256.Sum256([]byte(strings.Join([]string{path.Base(filepath.ToSlash(project)), p.File, p.Pointer, p.Code, p.Message}, "\x00")))
	hash := hex.EncodeToString(sum[:12])
	seen[hash]++
	return map[string]string{"postern/v1": fmt.Sprintf("%s:%d", hash, seen[hash])}
}

// uri is a file as a relative reference (RFC 3986), where it lies below the folder the command is called in.
func uri(file string) string {
	if absolute, err := filepath.Abs(file); err == nil && filepath.IsAbs(file) {
		if here, err := filepath.Abs("."); err == nil {
			if relative, err := filepath.Rel(here, absolute); err == nil && filepath.IsLocal(relative) {
				file = relative
			}
		}
	}
	u := url.URL{Path: path.Clean(filepath.ToSlash(file))}
	if path.IsAbs(u.Path) {
		u.Scheme = "file"
	}
	return u.String()
}
