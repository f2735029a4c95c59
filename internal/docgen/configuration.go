package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/postern-gateway/postern/internal/config"
)

const configurationHead = `# Configuration

Everything in ` + "`postern.yaml`" + `, with its default. The file is given by ` + "`--config`" + `, or is ` + "`postern.yaml`" + ` in the working directory if there is one;
no file at all means the defaults. An unknown key is an error that names it and its nearest known neighbour.

**Environment.** The third column is the variable that sets a key. Lists and maps are written as JSON. With ` + "`_FILE`" + ` at its end a
variable names a file that holds the value: ` + "`POSTERN_LABEL_FILE=/run/label`" + `. A flag beats the environment, which beats the file, which beats
the default.

A variable that begins with ` + "`POSTERN_`" + ` and is no key is warned of at the start, with the key it may have been meant for. It is no error, as an unknown
key of the file is, since the environment is shared: ` + "`POSTERN_TOKEN`, `POSTERN_SERVER`, `POSTERN_ENV` and `POSTERN_CONFIG`" + ` are for the command line, ` + "`POSTERN_VAR_…`" + ` for
projects, and Kubernetes sets ` + "`POSTERN_SERVICE_HOST` and `POSTERN_PORT`" + ` in every container beside a service called postern; of all these nothing is said.

**Secrets** are written ` + "`${POSTERN_VAR_NAME}`" + `, or come by ` + "`_FILE`" + `; they are never printed.

A key that this build knows and does not serve yet is refused where ignoring it would weaken security or change an answer, and
warned of otherwise; both say so at the start.

| key | default | environment | |
|---|---|---|---|
`

// configuration makes a table of the documented file that is also the source of the defaults.
func configuration(b *bytes.Buffer) error {
	text, err := os.ReadFile("internal/config/postern.yaml")
	if err != nil {
		return err
	}
	var document yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil {
		return err
	}
	b.WriteString(configurationHead)
	row(b, "", document.Content[0], comments(string(text)))
	b.WriteString("\n## The file, as it would be written\n\nEvery value is the default, unless its line says \"example\".\n\n```yaml\n")
	b.Write(text)
	b.WriteString("```\n")
	return nil
}

// row writes a line for each value of a section, and goes into the sections in it. What is remarked behind a section
// is about all of its keys and gets a line of its own.
func row(b *bytes.Buffer, prefix string, section *yaml.Node, notes map[int]string) {
	for i := 0; i+1 < len(section.Content); i += 2 {
		key, value := section.Content[i], section.Content[i+1]
		path := prefix + key.Value
		if value.Kind == yaml.MappingNode && len(value.Content) > 0 {
			if note := notes[key.Line]; note != "" && section.Style != yaml.FlowStyle {
				fmt.Fprintf(b, "| **%s** | | | %s |\n", path, cell(note))
			}
			row(b, path+".", value, notes)
			continue
		}
		note := notes[key.Line]
		if section.Style == yaml.FlowStyle {
			note = ""
		}
		fmt.Fprintf(b, "| `%s` | %s | `%s` | %s |\n", path, written(value), config.EnvironmentName(path), cell(note))
	}
}

// comments are the remarks at the end of lines, by line, with the lines that go on with them.
func comments(text string) map[int]string {
	notes := map[int]string{}
	last := 0
	for i, line := range strings.Split(text, "\n") {
		trimmed := strings.TrimSpace(line)
		_, note, found := strings.Cut(line, " # ")
		switch {
		case found && !strings.HasPrefix(trimmed, "#"):
			last = i + 1
			notes[last] = strings.TrimSpace(note)
		case strings.HasPrefix(trimmed, "#") && strings.HasPrefix(line, "      ") && last != 0:
			notes[last] += " " + strings.TrimSpace(strings.TrimPrefix(trimmed, "#"))
		default:
			last = 0
		}
	}
	return notes
}

// written is a default as it is written in the file.
func written(value *yaml.Node) string {
	switch {
	case value.Kind == yaml.SequenceNode && len(value.Content) == 0:
		return "`[]`"
	case value.Kind == yaml.MappingNode:
		return "`{}`"
	case value.Value == "":
		return "`\"\"`"
	}
	return "`" + value.Value + "`"
}
