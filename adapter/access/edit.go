package access

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/postern-gateway/postern/internal/socket"
	"github.com/postern-gateway/postern/internal/whole"
)

// head opens a file that is made here.
const head = `# Who may manage this gateway: hashes of tokens, and names of client certificates (postern://client/NAME), with their roles.
# Changes are live. ` + "`postern tokens create|list|revoke`" + ` edits it; so may you.
`

// Read reads a tokens file. One that is not there has nobody.
func Read(path string) (File, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return File{}, nil
	}
	if err != nil {
		return File{}, err
	}
	f, err := Parse(text)
	if err != nil {
		return File{}, fmt.Errorf("%s: %w", path, err)
	}
	return f, nil
}

// Create makes a token, puts its hash into the file, and returns it: nobody can tell it again.
func Create(path, name string, roles Grants, expires, now time.Time) (token string, err error) {
	random := make([]byte, 32)
	_, _ = rand.Read(random) // it never fails
	token = tokenPrefix + base64.RawURLEncoding.EncodeToString(random)
	entry := Token{Name: name, SHA256: Hash(token), Roles: roles, Created: now.UTC().Truncate(time.Second)}
	if !expires.IsZero() {
		entry.Expires = expires.UTC().Truncate(time.Second)
	}
	return token, edit(path, func(tokens *yaml.Node) error {
		if at(tokens, name) >= 0 {
			return fmt.Errorf("there is a token %s already; revoke it first, or choose another name", name)
		}
		var n yaml.Node
		if err := n.Encode(entry); err != nil {
			return err
		}
		tokens.Content = append(tokens.Content, &n)
		return nil
	})
}

// Revoke takes a token out of the file.
func Revoke(path, name string) error {
	return edit(path, func(tokens *yaml.Node) error {
		i := at(tokens, name)
		if i < 0 {
			return fmt.Errorf("there is no token %s in %s", name, path)
		}
		tokens.Content = slices.Delete(tokens.Content, i, i+1)
		return nil
	})
}

// FirstToken makes the file with a token of an admin, and writes that to another, if the file is not there. It says whether
// it has.
func FirstToken(path, adminFile string, now time.Time) (made bool, err error) {
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	token, err := Create(path, "admin", Grants{{Role: Admin}}, time.Time{}, now)
	if err != nil {
		return false, err
	}
	return true, whole.Write(adminFile, 0o600, whole.Bytes([]byte(token+"\n")))
}

// at is where the list has a name; -1: nowhere.
func at(tokens *yaml.Node, name string) int {
	return slices.IndexFunc(tokens.Content, func(n *yaml.Node) bool {
		var entry struct{ Name string }
		return n.Decode(&entry) == nil && entry.Name == name
	})
}

// patience is how long the editor before may take.
const patience = 5 * time.Second

// edit changes the list of tokens, and nothing else of the file, comments included. Who edits has the file's lock, and who
// reads sees the file before or after.
func edit(path string, change func(tokens *yaml.Node) error) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	lock, err := lockFor(path)
	if err != nil {
		return err
	}
	defer socket.Unlock(lock)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		text, err = []byte(head), nil
	}
	if err != nil {
		return err
	}
	if _, err := Parse(text); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	var document yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil {
		return err
	}
	if err := change(listOf(&document, "tokens")); err != nil {
		return err
	}
	next, err := yaml.Marshal(&document)
	if err != nil {
		return err
	}
	if !slices.Equal(text, []byte(head)) || len(document.HeadComment) > 0 {
		return store(path, next)
	}
	return store(path, append([]byte(head), next...)) // why: a document of comments alone has no node to hold them
}

func store(path string, text []byte) error {
	if _, err := Parse(text); err != nil {
		return err
	}
	if err := whole.Write(path, 0o600, whole.Bytes(text)); err != nil {
		return err
	}
	return whole.SyncFolder(filepath.Dir(path)) // why: a token that was revoked must not be back after a power cut
}

// listOf is the list under a key of the document, made if it is not there.
func listOf(document *yaml.Node, key string) *yaml.Node {
	if len(document.Content) == 0 {
		document.Kind, document.Content = yaml.DocumentNode, []*yaml.Node{{Kind: yaml.MappingNode}}
	}
	root := document.Content[0]
	if root.Kind != yaml.MappingNode { // null: Parse takes nothing else
		*root = yaml.Node{Kind: yaml.MappingNode, HeadComment: root.HeadComment}
	}
	for i := 0; i+1 < len(root.Content); i += 2 {
		if root.Content[i].Value != key {
			continue
		}
		list := root.Content[i+1]
		if list.Kind != yaml.SequenceNode {
			*list = yaml.Node{Kind: yaml.SequenceNode}
		}
		list.Style &^= yaml.FlowStyle // one entry a line
		return list
	}
	list := &yaml.Node{Kind: yaml.SequenceNode}
	root.Content = append(root.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: key}, list)
	return list
}

func lockFor(path string) (*os.File, error) {
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		lock, err := socket.Lock(path + ".lock")
		if err == nil || !errors.Is(err, socket.ErrLocked) {
			return lock, err
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("%s is being edited by somebody else", path)
		}
	}
}
