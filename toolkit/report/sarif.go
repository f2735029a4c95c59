package report

import (
	"io"
	"slices"

	"github.com/postern-gateway/postern/adapter/model"
)

// The part of SARIF 2.1.0 (OASIS) that code hosts show beside a change.
type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool    sarifTool     `json:"tool"`
		Results []sarifResult `json:"results"`
	}
	sarifTool struct {
		Driver sarifDriver `json:"driver"`
	}
	sarifDriver struct {
		Name  string      `json:"name"`
		Rules []sarifRule `json:"rules"`
	}
	sarifRule struct {
		ID string `json:"id"`
	}
	sarifResult struct {
		RuleID    string          `json:"ruleId"`
		Level     string          `json:"level"`
		Message   sarifText       `json:"message"`
		Locations []sarifLocation `json:"locations"`
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
		URI string `json:"uri"`
	}
	sarifRegion struct {
		StartLine   int `json:"startLine"`
		StartColumn int `json:"startColumn,omitempty"`
	}
	sarifLogical struct {
		Name string `json:"fullyQualifiedName"`
	}
)

func sarif(w io.Writer, projects []Project) error {
	run := sarifRun{Tool: sarifTool{sarifDriver{Name: "postern validate", Rules: []sarifRule{}}}, Results: []sarifResult{}}
	var codes []string
	for _, r := range projects {
		for _, p := range r.Problems {
			run.Results = append(run.Results, resultOf(at(r.Path, p)))
			codes = append(codes, p.Code)
		}
	}
	slices.Sort(codes)
	for _, code := range slices.Compact(codes) {
		run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, sarifRule{code})
	}
	return indented(w, sarifLog{
		Schema: "https://json.schemastore.org/sarif-2.1.0.json", Version: "2.1.0", Runs: []sarifRun{run},
	})
}

func resultOf(p model.Problem) sarifResult {
	l := sarifLocation{Physical: sarifPhysical{Artifact: sarifArtifact{p.File}}}
	if p.Line > 0 {
		l.Physical.Region = &sarifRegion{p.Line, p.Column}
	}
	if p.Pointer != "" {
		l.Logical = []sarifLogical{{p.Pointer}}
	}
	return sarifResult{p.Code, p.Severity.String(), sarifText{p.Message}, []sarifLocation{l}}
}
