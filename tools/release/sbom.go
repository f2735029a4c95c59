package main

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// A bill of materials in the form of CycloneDX 1.6, of which only these fields are used.
// Source: https://cyclonedx.org/docs/1.6/json/
type bill struct {
	Schema       string       `json:"$schema"`
	Format       string       `json:"bomFormat"`
	SpecVersion  string       `json:"specVersion"`
	SerialNumber string       `json:"serialNumber"`
	Version      int          `json:"version"`
	Metadata     billMetadata `json:"metadata"`
	Components   []billPart   `json:"components"`
	Dependencies []billNeeds  `json:"dependencies"`
}

type billMetadata struct {
	Timestamp string   `json:"timestamp"`
	Component billPart `json:"component"`
}

type billPart struct {
	Type     string        `json:"type"`
	Ref      string        `json:"bom-ref"`
	Name     string        `json:"name"`
	Version  string        `json:"version"`
	Licences []billLicence `json:"licenses,omitempty"`
	PURL     string        `json:"purl"`
}

type billLicence struct {
	Expression string `json:"expression"`
}

type billNeeds struct {
	Ref       string   `json:"ref"`
	DependsOn []string `json:"dependsOn"`
}

// billOf says what a product is made of. Its serial number follows from its content.
func billOf(product, version string, when time.Time, parts []component) ([]byte, error) {
	self := "pkg:golang/github.com/postern-gateway/postern@" + version + "#" + product
	b := bill{
		Schema: "http://cyclonedx.org/schema/bom-1.6.schema.json", Format: "CycloneDX", SpecVersion: "1.6", Version: 1,
		Metadata: billMetadata{
			Timestamp: when.Format(time.RFC3339),
			Component: billPart{
				Type: "application", Ref: self, Name: product, Version: version,
				Licences: []billLicence{{"Apache-2.0"}}, PURL: "pkg:golang/github.com/postern-gateway/postern@" + version,
			},
		},
		Dependencies: []billNeeds{{Ref: self}},
	}
	content := []string{product, version}
	for _, c := range parts {
		b.Components = append(b.Components, billPart{
			Type: "library", Ref: c.purl, Name: c.name, Version: c.version, Licences: []billLicence{{c.licence}}, PURL: c.purl,
		})
		b.Dependencies[0].DependsOn = append(b.Dependencies[0].DependsOn, c.purl)
		content = append(content, c.purl, c.licence)
	}
	b.SerialNumber = serial(strings.Join(content, "\n"))
	out, err := json.MarshalIndent(b, "", "  ")
	return append(out, '\n'), err
}

// serial is a UUID made of a digest. Source: RFC 9562, section 5.8.
func serial(content string) string {
	u := sha256.Sum256([]byte(content))
	u[6] = u[6]&0x0f | 0x80 // version 8: of our own making
	u[8] = u[8]&0x3f | 0x80
	return fmt.Sprintf("urn:uuid:%x-%x-%x-%x-%x", u[0:4], u[4:6], u[6:8], u[8:10], u[10:16])
}
