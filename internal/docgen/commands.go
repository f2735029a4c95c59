package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const commandsHead = `# Commands

What each command says of itself. Every command takes ` + "`--help`" + `; those that print something for machines take ` + "`--output json`" + `.
Exit codes: 0 it went well, 1 the input is bad, 2 the command was called wrongly, 3 a server could not be reached, 4 a
gateway rejected it or did not answer.

`

// commands asks the program itself, each command in turn.
func commands(b *bytes.Buffer) error {
	folder, err := os.MkdirTemp("", "docgen")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(folder) }()
	program := filepath.Join(folder, "postern")
	if out, err := exec.Command("go", "build", "-o", program, "./cmd/postern").CombinedOutput(); err != nil {
		return fmt.Errorf("go build ./cmd/postern: %w\n%s", err, out)
	}
	b.WriteString(commandsHead)
	return command(b, program, nil)
}

// command writes what one command says and goes on to those below it.
func command(b *bytes.Buffer, program string, words []string) error {
	help, err := exec.Command(program, append(words, "--help")...).Output()
	if err != nil {
		return fmt.Errorf("%s --help: %w", strings.Join(words, " "), err)
	}
	fmt.Fprintf(b, "## %s\n\n```text\n%s\n```\n\n", strings.Join(append([]string{"postern"}, words...), " "), strings.TrimSpace(string(help)))
	for _, name := range below(string(help)) {
		if name == "help" || name == "completion" && len(words) > 0 {
			continue
		}
		if err := command(b, program, append(words[:len(words):len(words)], name)); err != nil {
			return err
		}
	}
	return nil
}

// below are the commands that a help text lists: the first words of the indented lines after "Available Commands:", or
// after the heading of a group of commands.
func below(help string) []string {
	var names []string
	listed := false
	for line := range strings.Lines(help) {
		line = strings.TrimRight(line, "\n")
		switch {
		case strings.HasSuffix(line, "Commands:") && !strings.HasPrefix(line, " "):
			listed = true
		case line == "":
			listed = false
		case listed && strings.HasPrefix(line, "  "):
			names = append(names, strings.Fields(line)[0])
		}
	}
	return names
}
