// Package compose brings docker-compose.yaml up with a container engine, calls the gateway as its consumers do, and breaks
// each part in turn under load. `make compose-test` builds the images and runs it. It imports nothing of the product.
// Its tests need a container engine, and the build tag compose.
package compose
