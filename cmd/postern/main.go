// Command postern is the gateway and its tools. This package only wires: what it does is done by the packages it imports.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

// Exit codes (design §3.1).
const (
	exitOK          = 0
	exitBadInput    = 1
	exitUsage       = 2
	exitUnreachable = 3
	exitRejected    = 4
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run is main with its surroundings passed in; it returns the exit code.
func run(args []string, out, errOut io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(errOut)
	command, err := root.ExecuteContextC(context.Background())
	if err == nil {
		return exitOK
	}
	f := failure{code: exitBadInput, err: err}
	if !errors.As(err, &f) && strings.HasPrefix(err.Error(), "unknown command") {
		f.code = exitUsage // cobra has no hook for this one
	}
	tell(errOut, command, f)
	return f.code
}

// failure is an error with the exit code that goes with it.
type failure struct {
	code int
	err  error // nil: everything was said already
}

func (f failure) Error() string {
	if f.err == nil {
		return "failed"
	}
	return f.err.Error()
}

func (f failure) Unwrap() error { return f.err }

func usage(err error) error {
	if err == nil {
		return nil
	}
	return failure{exitUsage, err}
}

// tell prints why a command failed, for whoever reads it.
func tell(w io.Writer, command *cobra.Command, f failure) {
	if f.err == nil {
		return
	}
	if asJSON(command) {
		text, _ := json.Marshal(map[string]any{"error": f.Error(), "exit": f.code})
		fmt.Fprintf(w, "%s\n", text)
		return
	}
	fmt.Fprintf(w, "postern: %s\n", f.Error())
	if f.code == exitUsage {
		fmt.Fprintf(w, "`%s --help` says how it is called.\n", command.CommandPath())
	}
}
