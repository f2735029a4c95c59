package project

import (
	"bytes"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/postern-gateway/postern/adapter/model"
)

// maxSearched bounds the documents in which the line of a mistake is searched for: that takes some twenty readings.
const maxSearched = 256 << 10

var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

// remedies says what to do about the parser's commonest complaints.
var remedies = map[string]string{
	"did not find expected key":                              "this line does not fit the ones above it; check its indentation, its quotes and that its key ends in a colon",
	"did not find expected '-' indicator":                    `this line does not fit the list above it; indent it like its neighbours and begin it with "- "`,
	"did not find expected ',' or ']'":                       `what "[" opens here is not closed, or lacks a comma`,
	"did not find expected ',' or '}'":                       `what "{" opens here is not closed, or lacks a comma`,
	"did not find expected node content":                     `a value is missing, or what "[" or "{" opens is not closed`,
	"could not find expected ':'":                            "a key lacks its colon near here; end it in \": \"",
	"found unexpected end of stream":                         "the quote that opens here is not closed",
	"found a tab character that violates indentation":        "indent with spaces, not with tabs",
	"found character that cannot start any token":            "a value cannot begin with @, % or a backquote, put it into quotes; nor with a tab, indent with spaces",
	"mapping values are not allowed in this context":         `a key stands where none can; check the indentation, and put a value that holds ": " into quotes`,
	"block sequence entries are not allowed in this context": `a list begins where none can; put its first "-" on a line of its own`,
}

// yamlError turns "yaml: line 3: did not find expected key" into a problem that points at the mistake.
func yamlError(file string, data []byte, err error) error {
	at, words := model.Origin{File: file}, err.Error()
	m := yamlLine.FindStringSubmatch(words)
	if m == nil {
		return refusal(at, "syntax", "this is not YAML: %s", words)
	}
	at.Line, _ = strconv.Atoi(m[1])
	if len(data) <= maxSearched {
		at.Line, at.Column = mistake(data, err.Error())
	}
	words = strings.TrimSpace(words[len(m[0]):])
	if remedy, ok := remedies[words]; ok {
		words += ": " + remedy
	}
	return refusal(at, "syntax", "this is not YAML: %s", words)
}

// mistake returns the line, and the column of its first word, at which reading fails with the words of the whole
// document's error: the parser itself names the beginning of the enclosing block, often far above, or nothing.
// A document cut off after a line before that one reads well or fails in other words.
func mistake(data []byte, words string) (line, column int) {
	ends := lineEnds(data)
	low, high := 0, len(ends) // cut after high lines it fails so, after low lines it does not
	for low+1 < high {
		middle := (low + high) / 2
		if fails(data[:ends[middle-1]], words) {
			high = middle
		} else {
			low = middle
		}
	}
	start := 0
	if high > 1 {
		start = ends[high-2]
	}
	text := data[start:ends[high-1]]
	return high, 1 + len(text) - len(bytes.TrimLeft(text, " \t"))
}

// lineEnds returns where each line of a document ends, its line break included.
func lineEnds(data []byte) []int {
	var ends []int
	for i, b := range data {
		if b == '\n' {
			ends = append(ends, i+1)
		}
	}
	if len(ends) == 0 || ends[len(ends)-1] < len(data) {
		ends = append(ends, len(data))
	}
	return ends
}

// fails tells whether reading data to its end, documents and all, stops with these words.
func fails(data []byte, words string) bool {
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var document yaml.Node
		if err := decoder.Decode(&document); err != nil {
			return err.Error() == words
		}
	}
}
