package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
)

// How many ask at once. A closed loop: each asks again when it has its answer. Envoy has a connection a worker thread.
const (
	connections = 2
	perConn     = 16
	httpConns   = 32
)

// grpcLoad asks a server the same thing in a closed loop by h2load, which takes little from the cores it shares with the
// server; check looks at one answer before each measurement.
func grpcLoad(l *lab, socket, method string, question []byte, check func([]byte) error) (rate, error) {
	conn, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	framed := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(question))) // not compressed, its length
	body, err := l.write(filepath.Base(socket)+".body", string(append(framed, question...)))
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, length time.Duration) (float64, error) {
		in, out := raw(question), raw(nil)
		err := conn.Invoke(ctx, method, &in, &out, grpc.ForceCodecV2(rawCodec{}), grpc.WaitForReady(true))
		if err == nil {
			err = check(out)
		}
		if err != nil {
			return 0, fmt.Errorf("%s: %w", method, err)
		}
		return h2load(ctx, length, "-B", "unix:"+socket, "-d", body, "-H", "content-type: application/grpc", "-H", "te: trailers", "http://localhost"+method)
	}, nil
}

var (
	h2loadRate  = regexp.MustCompile(`finished in [^,]+, ([0-9.]+) req/s`)
	h2loadClean = regexp.MustCompile(`requests: (\d+) total, \d+ started, \d+ done, (\d+) succeeded, 0 failed, 0 errored, 0 timeout`)
)

func h2load(ctx context.Context, length time.Duration, args ...string) (float64, error) {
	args = append([]string{"-t1", "-c" + strconv.Itoa(connections), "-m" + strconv.Itoa(perConn), "-D" + strconv.FormatInt(length.Milliseconds(), 10) + "ms"}, args...)
	out, err := exec.CommandContext(ctx, "h2load", args...).CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("h2load: %w: %s", err, out)
	}
	rate, clean := h2loadRate.FindSubmatch(out), h2loadClean.FindSubmatch(out)
	if rate == nil || clean == nil || string(clean[1]) != string(clean[2]) {
		return 0, fmt.Errorf("h2load: some requests failed: %s", out)
	}
	return strconv.ParseFloat(string(rate[1]), 64)
}

// raw is a message that is not looked into.
type raw []byte

type rawCodec struct{}

func (rawCodec) Name() string { return "proto" }

func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	m, ok := v.(*raw)
	if !ok {
		return nil, fmt.Errorf("not raw: %T", v)
	}
	return mem.BufferSlice{mem.SliceBuffer(*m)}, nil
}

func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	m, ok := v.(*raw)
	if !ok {
		return fmt.Errorf("not raw: %T", v)
	}
	*m = data.Materialize()
	return nil
}

var (
	wrkRate   = regexp.MustCompile(`Requests/sec:\s+([0-9.]+)`)
	wrkErrors = regexp.MustCompile(`(?m)^\s*(Non-2xx.*|Socket errors.*)$`)
)

// httpLoad asks for a URL in a closed loop over connections that are kept alive, by wrk.
func httpLoad(url string, headers ...string) rate {
	return func(ctx context.Context, length time.Duration) (float64, error) {
		seconds := max(1, int(length.Round(time.Second).Seconds())) // wrk counts in whole ones
		args := []string{"-t1", "-c" + strconv.Itoa(httpConns), "-d" + strconv.Itoa(seconds) + "s"}
		for _, h := range headers {
			args = append(args, "-H", h)
		}
		out, err := exec.CommandContext(ctx, "wrk", append(args, url)...).CombinedOutput()
		if err != nil {
			return 0, fmt.Errorf("wrk %s: %w: %s", url, err, out)
		}
		if bad := wrkErrors.Find(out); bad != nil {
			return 0, fmt.Errorf("wrk %s: %s", url, bad)
		}
		m := wrkRate.FindSubmatch(out)
		if m == nil {
			return 0, errors.New("wrk printed no rate")
		}
		return strconv.ParseFloat(string(m[1]), 64)
	}
}
