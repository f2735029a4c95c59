package config

import (
	"fmt"
	"net/url"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// ProjectSource is where projects come from: one of its fields.
type ProjectSource struct {
	Git *GitSource `yaml:"git"`
}

// GitSource is a branch of a git repository.
type GitSource struct {
	URL          string        `yaml:"url"`
	Branch       string        `yaml:"branch" default:"main"`
	Path         string        `yaml:"path"`
	Poll         time.Duration `yaml:"poll" default:"30s"`
	Depth        int           `yaml:"depth" default:"1" min:"1" max:"1000"`
	AllowRewrite bool          `yaml:"allowRewrite"`
	Username     string        `yaml:"username"`
	Token        Secret        `yaml:"token"`
	CA           string        `yaml:"ca"`
	SSHKey       string        `yaml:"sshKey"`
	KnownHosts   string        `yaml:"knownHosts"`
}

// finishSources makes the paths of files usable from here.
func (c *Config) finishSources() {
	for _, s := range c.Sources {
		if g := s.Git; g != nil {
			g.CA, g.SSHKey, g.KnownHosts = c.path("sources", g.CA), c.path("sources", g.SSHKey), c.path("sources", g.KnownHosts)
		}
	}
}

func (l *loader) checkSources(c *Config) {
	seen := map[GitSource]bool{}
	for i, s := range c.Sources {
		key := fmt.Sprintf("sources[%d]", i)
		if s.Git == nil {
			l.problem(c.origin(key), key, "names no source; write one like git: {url: https://git.example.com/shop/apis.git}")
			continue
		}
		l.checkGit(c, key+".git", s.Git)
		same := GitSource{URL: s.Git.URL, Branch: s.Git.Branch, Path: s.Git.Path}
		if seen[same] {
			l.problem(c.origin(key), key+".git", "this url, branch and path stand in the list twice")
		}
		seen[same] = true
	}
}

// branchName is what git accepts as a branch (git-check-ref-format), as far as anybody uses it.
var branchName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.+@#/-]*$`)

func (l *loader) checkGit(c *Config, key string, g *GitSource) {
	wrong := func(k, format string, args ...any) { l.problem(c.origin(key+"."+k), key+"."+k, format, args...) }
	l.checkGitURL(wrong, c.origin(key+".url"), key, g)
	if !branchName.MatchString(g.Branch) || strings.Contains(g.Branch, "..") || strings.HasSuffix(g.Branch, "/") {
		wrong("branch", "%q is no name of a branch; write one like main", g.Branch)
	}
	if _, err := path.Match(g.Path, ""); err != nil || g.Path != "" && !filepath.IsLocal(strings.TrimSuffix(g.Path, "/")) {
		wrong("path", `%q is no folder of a repository; write one like shop, or a pattern like "projects/*"`, g.Path)
	}
	if g.Poll < time.Second {
		wrong("poll", "%s is too often for the server; 1s is the least", g.Poll)
	}
}

// scpLike is the short form of an ssh URL: git@host:path.
var scpLike = regexp.MustCompile(`^[^/@:]+@[^/:]+:.+`)

// checkGitURL never repeats the URL: somebody may have put a password into it.
func (l *loader) checkGitURL(wrong func(k, format string, args ...any), place at, key string, g *GitSource) {
	u, err := url.Parse(g.URL)
	scheme := ""
	switch {
	case g.URL == "":
		wrong("url", "is missing; write one like https://git.example.com/shop/apis.git")
		return
	case scpLike.MatchString(g.URL):
		scheme = "ssh"
	case err == nil:
		scheme = u.Scheme
	}
	switch {
	case scheme == "https" || scheme == "http":
		l.checkGitWeb(wrong, place, key, g, u)
	case scheme == "ssh":
		if u != nil && u.User != nil {
			if _, has := u.User.Password(); has {
				wrong("url", "holds a password; ssh sources come with sshKey")
			}
		}
		if g.SSHKey == "" || g.KnownHosts == "" {
			wrong("url", "ssh needs sshKey, the file of the private key, and knownHosts, the file with the server's key as ssh-keyscan prints it, "+
				"without which anybody could pose as the server")
		}
	case scheme == "file" && u.Host == "" && filepath.IsAbs(u.Path):
	default:
		wrong("url", "is none that this build fetches from; write https://…, ssh://…, git@host:path or file:///path")
	}
	if scheme != "ssh" && (g.SSHKey != "" || g.KnownHosts != "") {
		wrong("sshKey", "sshKey and knownHosts are for ssh URLs")
	}
	if scheme != "https" && g.CA != "" {
		wrong("ca", "is for https URLs")
	}
	if scheme != "https" && scheme != "http" && g.Token != "" {
		wrong("token", "is for https URLs")
	}
}

func (l *loader) checkGitWeb(wrong func(k, format string, args ...any), place at, key string, g *GitSource, u *url.URL) {
	switch {
	case u.Host == "":
		wrong("url", "names no host; write one like https://git.example.com/shop/apis.git")
	case u.User != nil:
		wrong("url", "holds a name or password; put them under username and token")
	case u.Scheme == "http" && !Loopback(u.Hostname()) && g.Token != "":
		wrong("token", "would be sent in plain text to %s; use https", u.Hostname())
	case u.Scheme == "http" && !Loopback(u.Hostname()):
		l.warnings = append(l.warnings, fmt.Sprintf("%s: %s.url: %s is not https: whoever is on the way can put projects of their own in", place, key, u.Redacted()))
	}
}
