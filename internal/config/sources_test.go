package config_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postern-gateway/postern/internal/config"
)

func TestSources(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("postern.yaml")
	if err != nil {
		t.Fatal(err)
	}
	documented := regexp.MustCompile(`(?m)^sources: \[\] .*\n# example:\n((?:# .*\n)+)`).FindStringSubmatch(string(text))
	if documented == nil {
		t.Fatal("the documented file has no example of sources")
	}
	example := "sources:\n" + regexp.MustCompile(`(?m)^# `).ReplaceAllString(documented[1], "")
	c, warnings, err := load(t, example, map[string]string{"POSTERN_VAR_GIT_TOKEN": "hunter2"}, as(config.Adapter))
	if err != nil || len(warnings) > 0 {
		t.Fatalf("the example: %v, %q", err, warnings)
	}
	if got := c.Sources[0].Git.Token; got.Reveal() != "hunter2" || strings.Contains(fmt.Sprintf("%+v %#v", *c.Sources[0].Git, *c.Sources[0].Git), "hunter2") {
		t.Errorf("the token is %q, and shown as %+v", got.Reveal(), *c.Sources[0].Git)
	}
	bare, _, err := load(t, "sources: [{git: {url: https://git.example.com/shop/apis.git}}]", nil)
	if err != nil {
		t.Fatal(err)
	}
	c.Sources[0].Git.Token = ""
	if diff := cmp.Diff(c.Sources[0].Git, bare.Sources[0].Git); diff != "" {
		t.Errorf("the example shows other defaults than the code has:\n%s", diff)
	}
	if bare.Sources[0].Git.Poll != 30*time.Second || bare.Sources[0].Git.Branch != "main" {
		t.Errorf("the defaults are %+v", bare.Sources[0].Git)
	}

	c, _, err = load(t, "sources: [{git: {url: 'git@git.example.com:shop/apis.git', sshKey: key, knownHosts: hosts}}]", nil)
	if err != nil {
		t.Fatal(err)
	}
	if key := c.Sources[0].Git.SSHKey; !filepath.IsAbs(key) || filepath.Base(key) != "key" {
		t.Errorf("the key is at %s, not beside the configuration", key)
	}
	for _, url := range []string{"ssh://git@git.example.com:2222/shop/apis.git", "file:///srv/apis.git", "http://127.0.0.1:3000/apis"} {
		more := ""
		if strings.HasPrefix(url, "ssh") {
			more = ", sshKey: k, knownHosts: h"
		}
		if _, warnings, err := load(t, "sources: [{git: {url: '"+url+"'"+more+"}}]", nil); err != nil || len(warnings) > 0 {
			t.Errorf("%s: %v, %q", url, err, warnings)
		}
	}
	_, warnings, err = load(t, "sources: [{git: {url: 'http://git.example.com/apis'}}]", nil)
	if err != nil || len(warnings) != 1 || !strings.Contains(warnings[0], "http://git.example.com/apis is not https") {
		t.Errorf("plain http: %v, %q", err, warnings)
	}
}

func TestWrongSources(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ text, want string }{
		"unknown":      {"[{svn: {}}]", `:1:12: sources[0].svn: unknown key; the nearest known one is "sources[0].git"`},
		"unknown key":  {"[{git: {ulr: 'https://a/b'}}]", `:1:18: sources[0].git.ulr: unknown key; the nearest known one is "sources[0].git.url"`},
		"nothing":      {"[{}]", `:1:11: sources[0]: names no source; write one like git: {url: https://git.example.com/shop/apis.git}`},
		"no url":       {"[{git: {branch: a}}]", `:1:17: sources[0].git.url: is missing; write one like https://git.example.com/shop/apis.git`},
		"scheme":       {"[{git: {url: 'ftp://a/b'}}]", `:1:23: sources[0].git.url: is none that this build fetches from; write https://…, ssh://…, git@host:path or file:///path`},
		"path alone":   {"[{git: {url: '/srv/apis'}}]", `:1:23: sources[0].git.url: is none that this build fetches from; write https://…, ssh://…, git@host:path or file:///path`},
		"no host":      {"[{git: {url: 'https:///b'}}]", `:1:23: sources[0].git.url: names no host; write one like https://git.example.com/shop/apis.git`},
		"password":     {"[{git: {url: 'https://ann:hunter2@a/b'}}]", `:1:23: sources[0].git.url: holds a name or password; put them under username and token`},
		"ssh password": {"[{git: {url: 'ssh://git:hunter2@a/b', sshKey: a, knownHosts: b}}]", `:1:23: sources[0].git.url: holds a password; ssh sources come with sshKey`},
		"ssh":          {"[{git: {url: 'ssh://git@a/b', sshKey: a}}]", `:1:23: sources[0].git.url: ssh needs sshKey, the file of the private key, and knownHosts, the file with the server's key as ssh-keyscan prints it, without which anybody could pose as the server`},
		"key, no ssh":  {"[{git: {url: 'https://a/b', sshKey: a}}]", `:1:46: sources[0].git.sshKey: sshKey and knownHosts are for ssh URLs`},
		"plain token":  {"[{git: {url: 'http://a/b', token: hunter2}}]", `:1:44: sources[0].git.token: would be sent in plain text to a; use https`},
		"file token":   {"[{git: {url: 'file:///a/b', token: hunter2}}]", `:1:45: sources[0].git.token: is for https URLs`},
		"ca, no https": {"[{git: {url: 'file:///a/b', ca: a}}]", `:1:42: sources[0].git.ca: is for https URLs`},
		"branch":       {"[{git: {url: 'https://a/b', branch: -x}}]", `:1:46: sources[0].git.branch: "-x" is no name of a branch; write one like main`},
		"path out":     {"[{git: {url: 'https://a/b', path: ../c}}]", `:1:44: sources[0].git.path: "../c" is no folder of a repository; write one like shop, or a pattern like "projects/*"`},
		"pattern":      {"[{git: {url: 'https://a/b', path: 'a[' }}]", `:1:44: sources[0].git.path: "a[" is no folder of a repository; write one like shop, or a pattern like "projects/*"`},
		"poll":         {"[{git: {url: 'https://a/b', poll: 10ms}}]", `:1:44: sources[0].git.poll: 10ms is too often for the server; 1s is the least`},
		"twice":        {"[{git: {url: 'https://a/b'}}, {git: {url: 'https://a/b', depth: 2}}]", `:1:40: sources[1].git: this url, branch and path stand in the list twice`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, _, err := load(t, "sources: "+test.text, nil)
			if err == nil {
				t.Fatalf("accepted; want %s", test.want)
			}
			if got := strings.TrimPrefix(err.Error(), "postern.yaml"); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Error("the password is told")
			}
		})
	}
}
