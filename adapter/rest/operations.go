package rest

import (
	_ "embed"
	"encoding/json"
	"net/http"
	"sync"

	"go.yaml.in/yaml/v3"

	"github.com/postern-gateway/postern/adapter/rest/api"
)

// Document is the OpenAPI document of this API.
//
//go:embed openapi.yaml
var Document []byte

// documentJSON is the same, made when it is first asked for.
var documentJSON = sync.OnceValue(func() []byte {
	var value any
	if err := yaml.Unmarshal(Document, &value); err != nil {
		panic("rest: the OpenAPI document: " + err.Error()) // it is compiled in and tested
	}
	text, err := json.Marshal(value)
	if err != nil {
		panic("rest: the OpenAPI document: " + err.Error())
	}
	return text
})

func (c *call) document() error {
	c.send(http.StatusOK, "application/yaml", Document)
	return nil
}

func (c *call) documentAsJSON() error {
	c.send(http.StatusOK, "application/json", documentJSON())
	return nil
}

func (c *call) whoAmI() error {
	return c.answer(http.StatusOK, api.Caller{
		Name: c.caller.Name, By: api.CallerBy(c.caller.By), Roles: c.caller.Grants.Strings(), Expires: c.caller.Expires,
	})
}

// backup streams the store. What goes wrong on the way breaks the answer off.
func (c *call) backup() error {
	h := c.w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Disposition", `attachment; filename="postern.backup"`)
	h.Set("Cache-Control", "no-store")
	if c.r.Method == http.MethodHead {
		c.w.WriteHeader(http.StatusOK)
		return nil
	}
	return c.Backup(c.r.Context(), c.w)
}
