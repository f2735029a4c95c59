// Command backend is the service behind the examples: pets kept in memory under /v2, and an echo of the request
// everywhere else. POSTERN_VAR_PETS is where, as it is for examples/petstore. It imports the standard library alone.
package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	listen := flag.String("listen", cmp.Or(os.Getenv("POSTERN_VAR_PETS"), "127.0.0.1:9091"), "address to serve on")
	ca := flag.String("tls-ca", "", "serve HTTPS with a certificate made at the start, and write the CA that signed it to this file")
	ping := flag.Bool("ping", false, "serve nothing: ask whether another one serves on -listen")
	flag.Parse()

	if *ping {
		connection, err := net.DialTimeout("tcp", *listen, time.Second)
		if err != nil {
			fmt.Fprintln(os.Stderr, "backend:", err)
			os.Exit(1)
		}
		connection.Close()
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *listen, *ca); err != nil {
		fmt.Fprintln(os.Stderr, "backend:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, address, ca string) error {
	var secure *tls.Config
	if ca != "" {
		var err error
		if secure, err = certify(ca); err != nil {
			return err
		}
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "backend: serving on %s\n", listener.Addr())
	return serve(ctx, listener, secure)
}

// serve answers until ctx is done, and lets what is under way finish. Without secure it speaks plain HTTP.
func serve(ctx context.Context, listener net.Listener, secure *tls.Config) error {
	server := &http.Server{
		Handler: routes(), TLSConfig: secure, ReadHeaderTimeout: 10 * time.Second, Protocols: new(http.Protocols),
	}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetHTTP2(true)
	server.Protocols.SetUnencryptedHTTP2(true)

	stopped := make(chan error, 1)
	go func() {
		<-ctx.Done()
		grace, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		if server.Shutdown(grace) != nil {
			stopped <- server.Close() // why: a client that keeps its connection busy must not keep us
			return
		}
		stopped <- nil
	}()
	var err error
	if secure != nil {
		err = server.ServeTLS(listener, "", "")
	} else {
		err = server.Serve(listener)
	}
	if !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-stopped
}

// routes are the pets, and the echo for whatever they do not know.
func routes() http.Handler {
	mux := http.NewServeMux()
	newPets().register(mux)
	mux.HandleFunc("GET /slow/{duration}", slow)
	mux.HandleFunc("/", echo)
	return mux
}
