package translate

import (
	"encoding/json"
	"fmt"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"
)

const redacted = "[redacted]"

// secrets are fields of Envoy's and Postern's messages that hold what nobody may read.
var secrets = map[string]bool{
	"private_key": true, "private_key_provider": true, "password": true, "session_ticket_keys": true,
	"token_secret": true, "hmac_secret": true, "client_secret": true, "generic_secret": true, "pkcs12": true,
}

// YAML prints resources as a list, fields as Envoy's documentation names them, keys in order, secrets redacted: equal
// resources give equal bytes.
func YAML(resources []Resource) ([]byte, error) {
	list := make([]any, 0, len(resources))
	for _, r := range resources {
		text, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(r.Message)
		if err != nil {
			return nil, fmt.Errorf("printing %s: %w", r.Name, err)
		}
		var tree any
		if err := json.Unmarshal(text, &tree); err != nil {
			return nil, fmt.Errorf("printing %s: %w", r.Name, err)
		}
		list = append(list, redact(tree))
	}
	return yaml.Marshal(list)
}

func redact(tree any) any {
	switch tree := tree.(type) {
	case map[string]any:
		for key, value := range tree {
			if secrets[key] {
				tree[key] = redacted
			} else {
				tree[key] = redact(value)
			}
		}
		if header, ok := tree["header"].(map[string]any); ok { // why: a backend's own credentials travel in added headers
			if key, _ := header["key"].(string); key == "authorization" {
				header["value"] = redacted
			}
		}
	case []any:
		for i, value := range tree {
			tree[i] = redact(value)
		}
	}
	return tree
}
