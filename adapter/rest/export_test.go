package rest

// Operation is what tests see of a route.
type Operation struct {
	Method, Path, Name, Role string
	Query                    []string
}

// Operations are all routes of the API.
func Operations() []Operation {
	var all []Operation
	for _, r := range allRoutes {
		all = append(all, Operation{r.method, r.path, r.name, r.role.String(), r.query})
	}
	return all
}
