package project

import "maps"

// rule is what may stand at one place of a definition.
type rule struct {
	kinds  []kind   // none: anything
	also   []kind   // taken too, though nobody is told to write them
	words  []string // the only ones; none: any
	is     string   // the shape of an object
	items  *rule    // of a list
	values *rule    // of an object whose keys are names that the author chose
	whole  bool     // a number is whole and not negative
}

// shape is one kind of object that OpenAPI knows.
type shape struct {
	what    string          // in a sentence
	section string          // where a document keeps those that others refer to; "" for nowhere
	members map[string]rule // others may be there, of which nothing is known
}

// Rules of single values.
var (
	word   = rule{kinds: []kind{text}}
	flag   = rule{kinds: []kind{boolean}}
	amount = rule{kinds: []kind{number}}
	count  = rule{kinds: []kind{number}, whole: true}
	anyone = rule{kinds: []kind{list}} // a list of anything
)

func an(shape string) rule     { return rule{kinds: []kind{object}, is: shape} }
func listOf(items rule) rule   { return rule{kinds: []kind{list}, items: &items} }
func namesOf(values rule) rule { return rule{kinds: []kind{object}, values: &values} }

// Rules that several shapes share.
var (
	// OpenAPI 3.1 has true and false for schemas too.
	aSchema      = rule{kinds: []kind{object}, also: []kind{boolean}, is: "schema"}
	aBound       = rule{kinds: []kind{number, boolean}} // 3.1 has numbers, 3.0 flags
	requirements = listOf(namesOf(listOf(word)))
	tags         = listOf(an("tag"))
)

// schemaMembers are those of OpenAPI 3.0, 3.1 and, as far as it has them, of Swagger 2.0.
var schemaMembers = map[string]rule{
	"type": {kinds: []kind{text, list}, items: &word}, "title": word, "description": word, "format": word, "pattern": word,
	"properties": namesOf(aSchema), "patternProperties": namesOf(aSchema), "dependentSchemas": namesOf(aSchema), "$defs": namesOf(aSchema),
	"additionalProperties": {kinds: []kind{boolean, object}, is: "schema"}, "items": aSchema, "not": aSchema,
	"allOf": listOf(aSchema), "anyOf": listOf(aSchema), "oneOf": listOf(aSchema), "prefixItems": listOf(aSchema),
	"contains": aSchema, "if": aSchema, "then": aSchema, "else": aSchema, "propertyNames": aSchema,
	"required": listOf(word), "enum": anyone, "examples": anyone,
	"nullable": flag, "readOnly": flag, "writeOnly": flag, "deprecated": flag, "uniqueItems": flag,
	"maximum": amount, "minimum": amount, "multipleOf": amount, "exclusiveMaximum": aBound, "exclusiveMinimum": aBound,
	"maxLength": count, "minLength": count, "maxItems": count, "minItems": count, "maxProperties": count, "minProperties": count,
	"discriminator": an("discriminator"), "xml": an("xml"), "externalDocs": an("externalDocs"),
}

// parameterMembers are those of parameters and headers.
var parameterMembers = map[string]rule{
	"name": word, "in": word, "description": word, "style": word, "required": flag, "deprecated": flag, "allowEmptyValue": flag,
	"explode": flag, "allowReserved": flag, "schema": aSchema, "examples": namesOf(an("example")), "content": namesOf(an("mediaType")),
}

// openapiShapes are the objects of OpenAPI 3.0 and 3.1. Source: OpenAPI Specification 3.0.4 and 3.1.1, section 4.
var openapiShapes = map[string]shape{
	"definition": {what: "a definition", members: map[string]rule{
		"info": an("info"), "servers": listOf(an("server")), "paths": namesOf(an("pathItem")), "webhooks": namesOf(an("pathItem")),
		"components": an("components"), "security": requirements, "tags": tags, "externalDocs": an("externalDocs"), "jsonSchemaDialect": word,
	}},
	"info":    {what: "info", members: infoMembers},
	"contact": {what: "contact", members: map[string]rule{"name": word, "url": word, "email": word}},
	"license": {what: "license", members: map[string]rule{"name": word, "url": word, "identifier": word}},
	"server":  {what: "a server", members: map[string]rule{"url": word, "description": word, "variables": namesOf(an("serverVariable"))}},
	"serverVariable": {what: "a variable of a server", members: map[string]rule{
		"enum": listOf(word), "default": word, "description": word,
	}},
	"pathItem": {what: "a path", section: "/components/pathItems/", members: map[string]rule{
		"summary": word, "description": word, "servers": listOf(an("server")), "parameters": listOf(an("parameter")),
		"get": an("operation"), "put": an("operation"), "post": an("operation"), "delete": an("operation"), "options": an("operation"),
		"head": an("operation"), "patch": an("operation"), "trace": an("operation"),
	}},
	"operation": {what: "an operation", members: map[string]rule{
		"tags": listOf(word), "summary": word, "description": word, "operationId": word, "externalDocs": an("externalDocs"),
		"parameters": listOf(an("parameter")), "requestBody": an("requestBody"), "responses": namesOf(an("response")),
		"callbacks": namesOf(an("callback")), "deprecated": flag, "security": requirements, "servers": listOf(an("server")),
	}},
	"callback":  {what: "a callback", section: "/components/callbacks/"},
	"parameter": {what: "a parameter", section: "/components/parameters/", members: parameterMembers},
	"header":    {what: "a header", section: "/components/headers/", members: parameterMembers},
	"requestBody": {what: "a request body", section: "/components/requestBodies/", members: map[string]rule{
		"description": word, "content": namesOf(an("mediaType")), "required": flag,
	}},
	"response": {what: "a response", section: "/components/responses/", members: map[string]rule{
		"description": word, "headers": namesOf(an("header")), "content": namesOf(an("mediaType")), "links": namesOf(an("link")),
	}},
	"mediaType": {what: "a media type", members: map[string]rule{
		"schema": aSchema, "examples": namesOf(an("example")), "encoding": namesOf(an("encoding")),
	}},
	"encoding": {what: "an encoding", members: map[string]rule{
		"contentType": word, "headers": namesOf(an("header")), "style": word, "explode": flag, "allowReserved": flag,
	}},
	"example": {what: "an example", section: "/components/examples/", members: map[string]rule{
		"summary": word, "description": word, "externalValue": word,
	}},
	"link": {what: "a link", section: "/components/links/", members: map[string]rule{
		"operationRef": word, "operationId": word, "description": word, "parameters": {kinds: []kind{object}}, "server": an("server"),
	}},
	"components": {what: "components", members: map[string]rule{
		"schemas": namesOf(aSchema), "responses": namesOf(an("response")), "parameters": namesOf(an("parameter")),
		"examples": namesOf(an("example")), "requestBodies": namesOf(an("requestBody")), "headers": namesOf(an("header")),
		"securitySchemes": namesOf(an("securityScheme")), "links": namesOf(an("link")), "callbacks": namesOf(an("callback")),
		"pathItems": namesOf(an("pathItem")),
	}},
	"securityScheme": {what: "a security scheme", section: "/components/securitySchemes/", members: map[string]rule{
		"type": word, "description": word, "name": word, "in": word, "scheme": word, "bearerFormat": word, "openIdConnectUrl": word, "flows": an("flows"),
	}},
	"flows": {what: "flows", members: map[string]rule{
		"implicit": an("flow"), "password": an("flow"), "clientCredentials": an("flow"), "authorizationCode": an("flow"),
	}},
	"flow": {what: "a flow", members: map[string]rule{
		"authorizationUrl": word, "tokenUrl": word, "refreshUrl": word, "scopes": namesOf(word),
	}},
	"tag":          {what: "a tag", members: tagMembers},
	"externalDocs": {what: "externalDocs", members: docsMembers},
	"schema":       {what: "a schema", section: "/components/schemas/", members: schemaMembers},
	"xml": {what: "xml", members: map[string]rule{
		"name": word, "namespace": word, "prefix": word, "attribute": flag, "wrapped": flag,
	}},
	"discriminator": {what: "discriminator", members: map[string]rule{"propertyName": word, "mapping": namesOf(word)}},
}

var (
	infoMembers = map[string]rule{
		"title": word, "summary": word, "description": word, "termsOfService": word, "version": word, "contact": an("contact"), "license": an("license"),
	}
	tagMembers  = map[string]rule{"name": word, "description": word, "externalDocs": an("externalDocs")}
	docsMembers = map[string]rule{"description": word, "url": word}
)

// swaggerShapes are the objects of Swagger 2.0, as far as they differ.
var swaggerShapes = map[string]shape{
	"definition": {what: "a definition", members: map[string]rule{
		"info": an("info"), "host": word, "basePath": word, "schemes": listOf(word), "consumes": listOf(word), "produces": listOf(word),
		"paths": namesOf(an("pathItem")), "definitions": namesOf(an("schema")), "parameters": namesOf(an("parameter")),
		"responses": namesOf(an("response")), "securityDefinitions": namesOf(an("securityScheme")), "security": requirements,
		"tags": tags, "externalDocs": an("externalDocs"),
	}},
	"info":    openapiShapes["info"],
	"contact": openapiShapes["contact"],
	"license": openapiShapes["license"],
	"pathItem": {what: "a path", members: map[string]rule{
		"parameters": listOf(an("parameter")), "get": an("operation"), "put": an("operation"), "post": an("operation"),
		"delete": an("operation"), "options": an("operation"), "head": an("operation"), "patch": an("operation"),
	}},
	"operation": {what: "an operation", members: map[string]rule{
		"tags": listOf(word), "summary": word, "description": word, "operationId": word, "externalDocs": an("externalDocs"),
		"consumes": listOf(word), "produces": listOf(word), "schemes": listOf(word), "parameters": listOf(an("parameter")),
		"responses": namesOf(an("response")), "deprecated": flag, "security": requirements,
	}},
	"parameter": {what: "a parameter", section: "/parameters/", members: map[string]rule{
		"name": word, "in": word, "description": word, "required": flag, "schema": an("schema"), "type": word, "format": word,
		"allowEmptyValue": flag, "items": an("schema"), "collectionFormat": word, "pattern": word, "enum": anyone, "uniqueItems": flag,
		"maximum": amount, "minimum": amount, "multipleOf": amount, "exclusiveMaximum": aBound, "exclusiveMinimum": aBound,
		"maxLength": count, "minLength": count, "maxItems": count, "minItems": count,
	}},
	"response": {what: "a response", section: "/responses/", members: map[string]rule{
		"description": word, "schema": an("schema"), "headers": namesOf(an("header")), "examples": {kinds: []kind{object}},
	}},
	"header": {what: "a header", members: map[string]rule{"description": word, "type": word, "format": word, "items": an("schema")}},
	"securityScheme": {what: "a security scheme", section: "/securityDefinitions/", members: map[string]rule{
		"type": word, "description": word, "name": word, "in": word, "authorizationUrl": word, "tokenUrl": word, "scopes": namesOf(word),
		"flow": {kinds: []kind{text}, words: []string{"implicit", "password", "application", "accessCode"}},
	}},
	"tag":          openapiShapes["tag"],
	"externalDocs": openapiShapes["externalDocs"],
	"schema":       {what: "a schema", section: "/definitions/", members: swaggerSchemaMembers()},
	"xml":          openapiShapes["xml"],
}

// swaggerSchemaMembers: a discriminator is a property's name there.
func swaggerSchemaMembers() map[string]rule {
	members := maps.Clone(schemaMembers)
	members["discriminator"] = word
	return members
}
