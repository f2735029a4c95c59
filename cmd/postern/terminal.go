package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

// isTerminal says whether somebody sits there.
func isTerminal(stream any) bool {
	file, ok := stream.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	null, err := os.Stat(os.DevNull)
	return err != nil || !os.SameFile(info, null)
}

// confirm asks whoever sits at a terminal; where nobody does, what was asked for is meant.
func confirm(c *cobra.Command, question string) error {
	if !isTerminal(c.InOrStdin()) || !isTerminal(c.ErrOrStderr()) {
		return nil
	}
	fmt.Fprintf(c.ErrOrStderr(), "%s [y/N] ", question)
	answer, err := bufio.NewReader(c.InOrStdin()).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return failure{exitBadInput, errors.New("nothing was done; --yes does not ask")}
}

// status is a line on a terminal that is written again and again; on anything else nothing is.
type status struct {
	w     io.Writer
	shown bool
}

func newStatus(c *cobra.Command) *status {
	w := c.ErrOrStderr()
	if asJSON(c) || !isTerminal(w) || os.Getenv("TERM") == "dumb" || os.Getenv("CI") != "" {
		return &status{}
	}
	return &status{w: w}
}

func (s *status) on() bool { return s.w != nil }

func (s *status) show(line string) {
	if s.on() {
		fmt.Fprintf(s.w, "\r\x1b[K%s", line)
		s.shown = true
	}
}

func (s *status) clear() {
	if s.shown {
		fmt.Fprint(s.w, "\r\x1b[K")
	}
}
