package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"

	"google.golang.org/grpc"
)

// servers are what `bench serve NAME ARGUMENT…` can be: the baselines, and Postern's services by themselves. Each is a process
// of its own, as it is in real life. It is ready when it prints so, and ends with its standard input.
var servers = map[string]func(args []string) (server, error){
	"yes-authz":    yesAuthz,
	"yes-limits":   yesLimits,
	"redis-limits": redisLimits,
	"ratelimiter":  ourRatelimiter,
	"enforcer":     ourEnforcer,
	"backend":      backend,
}

// server serves on a listener; hint is for its clients.
type server struct {
	serve func(net.Listener) error
	hint  string
}

// serve runs one of the servers; the first argument is its unix socket, or host:port.
func serve(what string, args []string) error {
	start, ok := servers[what]
	if !ok || len(args) == 0 {
		return fmt.Errorf("no server %q, or no address for it", what)
	}
	s, err := start(args[1:])
	if err != nil {
		return err
	}
	network := "unix"
	if _, _, err := net.SplitHostPort(args[0]); err == nil {
		network = "tcp"
	}
	l, err := net.Listen(network, args[0])
	if err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	fmt.Println("ready", s.hint)
	return s.serve(l)
}

func grpcServer(register func(*grpc.Server), o ...grpc.ServerOption) server {
	g := grpc.NewServer(o...)
	register(g)
	return server{serve: g.Serve}
}

// backend answers everything at once with a few bytes, on more addresses if there are more.
func backend(more []string) (server, error) {
	answer := []byte(`{"id":1}`)
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(answer)
	})
	s := &http.Server{Handler: handler}
	for _, address := range more {
		l, err := net.Listen("tcp", address)
		if err != nil {
			return server{}, err
		}
		go func() { _ = s.Serve(l) }()
	}
	return server{serve: s.Serve}, nil
}

// background runs what a service does beside requests, for the process's life.
func background(run func(context.Context) error) {
	go func() {
		if err := run(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}()
}
