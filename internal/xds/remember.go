package xds

import (
	"slices"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
)

// recall applies what the store has.
func (c *client) recall() {
	if c.options.Store == nil {
		return
	}
	for _, typeURL := range c.options.Types {
		resources, known, err := c.options.Store.Load(typeURL)
		if err != nil {
			c.options.Log.Error("what was stored cannot be used", "type", typeURL, "err", err)
			continue
		}
		if !known {
			continue
		}
		t := c.types[typeURL]
		for _, r := range c.reapply(typeURL, resources) {
			t.versions[r.Name] = r.Version
		}
		t.complete = true
		c.options.Log.Info("going on from what was stored", "type", typeURL, "resources", len(t.versions))
	}
	c.alone(c.options.Store.SavedAt())
}

// reapply applies a full set, and returns what of it was taken. What another build stored may be refused: that is dropped,
// so that the server sends it again, and the rest serves.
func (c *client) reapply(typeURL string, resources []*discoveryv3.Resource) []*discoveryv3.Resource {
	if c.options.Apply(Update{TypeURL: typeURL, Resources: resources, Complete: true}) == nil {
		return resources
	}
	var dropped []string
	resources = slices.DeleteFunc(resources, func(r *discoveryv3.Resource) bool {
		err := c.options.Apply(Update{TypeURL: typeURL, Resources: []*discoveryv3.Resource{r}})
		if err != nil {
			c.options.Log.Error("a stored resource is not used", "type", typeURL, "resource", r.Name, "err", err)
			dropped = append(dropped, r.Name)
		}
		return err != nil
	})
	if err := c.options.Apply(Update{TypeURL: typeURL, Complete: true}); err != nil {
		c.options.Log.Error("what was stored cannot be used", "type", typeURL, "err", err)
	}
	c.options.Store.Drop(typeURL, dropped)
	return resources
}

// remember stores what was accepted, once there is a full set: half of one would pass for all there is.
func (c *client) remember(typeURL string, put []*discoveryv3.Resource, removed []string) {
	if c.options.Store == nil {
		return
	}
	t := c.types[typeURL]
	for _, name := range removed {
		delete(t.unstored, name)
	}
	for _, r := range put {
		t.unstored[r.Name] = r
	}
	if !t.complete {
		return
	}
	put = make([]*discoveryv3.Resource, 0, len(t.unstored))
	for _, r := range t.unstored {
		put = append(put, r)
	}
	clear(t.unstored)
	c.options.Store.Put(typeURL, put, removed)
}
