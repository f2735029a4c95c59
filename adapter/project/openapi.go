package project

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"

	"github.com/getkin/kin-openapi/openapi2"
	"github.com/getkin/kin-openapi/openapi2conv"
	"github.com/getkin/kin-openapi/openapi3"
)

// Definition reads the definition in file as a document of OpenAPI 3, which a Swagger 2.0 one is converted to. Its parts
// know their places (their Origin) where kin-openapi can tell them: not those of a Swagger 2.0 one.
func Definition(files fs.FS, file string) (*openapi3.T, error) {
	documents := newDocuments(files)
	doc, err := documents.load(file)
	if err != nil {
		return nil, err
	}
	swagger2 := doc.root.get("swagger") != nil
	if !swagger2 {
		located := func(name string) ([]byte, error) {
			if _, err := documents.load(name); err != nil { // first our own reader, which has limits
				return nil, err
			}
			data, err := readFile(files, name, maxDocumentBytes)
			return append(data, "\n#\n"...), err // why: kin-openapi knows no places in JSON, which this is not then
		}
		if data, err := located(file); err == nil {
			if t, err := openapi(data, file, false, true, located); err == nil {
				return t, nil
			}
		}
	}
	return openapi(doc.json, file, swagger2, false, documents.asJSON) // as it was taken when it was compiled
}

// asJSON reads a document that is referred to.
func (d *documents) asJSON(file string) ([]byte, error) {
	doc, err := d.refer(file)
	if err != nil {
		return nil, err
	}
	return doc.json, nil
}

// openapi has kin-openapi read the definition in file, following every $ref to documents that read returns.
func openapi(data []byte, file string, swagger2, places bool, read func(file string) ([]byte, error)) (t *openapi3.T, err error) {
	defer func() { // the parser is somebody else's and the input a stranger's
		if p := recover(); p != nil {
			err = fmt.Errorf("%v", p)
		}
	}()
	location := &url.URL{Path: file}
	loader := openapi3.NewLoader()
	loader.IncludeOrigin = places
	loader.ReadFromURIFunc = func(_ *openapi3.Loader, location *url.URL) ([]byte, error) {
		file, err := within(".", location)
		if err != nil {
			return nil, err
		}
		data, err := read(file)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("there is no file %q in the project", file)
		}
		return data, err
	}
	if !swagger2 {
		return loader.LoadFromDataWithPath(data, location)
	}
	var t2 openapi2.T
	if err := json.Unmarshal(data, &t2); err != nil {
		return nil, err
	}
	return openapi2conv.ToV3WithLoader(&t2, loader, location)
}
