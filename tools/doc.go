// Package tools is the module that pins what builds and checks Postern, apart from the gateway's own
// module so that none of its dependencies end in the binary. It must not be imported.
package tools
