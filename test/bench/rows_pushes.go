package main

import (
	"archive/zip"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// Pushing one API of ten operations and waiting until every gateway serves it.
var pushRows = []row{
	{
		name: "push-10", what: "a push with wait of one API, with 10 APIs loaded: the median", goal: atMost(100, "ms"),
		prepare: pushes(10, 0.5),
	},
	{
		name: "push-10-p99", what: "… the 99th of 100", goal: atMost(250, "ms"),
		prepare: pushes(10, 0.99), rounds: 5,
	},
	{
		name: "push-10000", what: "a push with wait of one API, with 10,000 APIs loaded: the median", goal: atMost(100, "ms"),
		prepare: pushes(10_000, 0.5),
	},
	{
		name: "push-10000-p99", what: "… the 99th of 100", goal: atMost(250, "ms"),
		prepare: pushes(10_000, 0.99), rounds: 5,
	},
	{
		name: "push-cpu", what: "Postern's CPU for a push: with 10,000 APIs over with 10", goal: atMost(1.2, "×"),
		prepare: manyOverFew("CPU of a push", "ms", func(ctx context.Context, c *changer) (float64, error) {
			before, err := worked(c.pid())
			if err != nil {
				return 0, err
			}
			if err := c.pushMany(ctx); err != nil {
				return 0, err
			}
			after, err := worked(c.pid())
			return (after - before).Seconds() * 1000 / changesPerSample, err
		}),
	},
	{
		name: "push-bytes", what: "bytes sent to Envoy for a push: with 10,000 APIs over with 10", goal: atMost(1.2, "×"),
		prepare: manyOverFew("bytes of a push", "B", func(ctx context.Context, c *changer) (float64, error) {
			before, err := c.received(ctx)
			if err != nil {
				return 0, err
			}
			if err := c.pushMany(ctx); err != nil {
				return 0, err
			}
			after, err := c.received(ctx)
			return (after - before) / changesPerSample, err
		}),
	},
	{
		name: "push-20", what: "20 pushes of different projects at once over the time of one", goal: atMost(3, "×"),
		prepare: atOnce(20),
	},
	{
		name: "push-20-far", what: "… in process, with gateways that take 20 ms for each answer", goal: atMost(3, "×"),
		prepare: func(ctx context.Context, l *lab) (sample, error) {
			one, err := benchmark(ctx, l, "./adapter", "BenchmarkPush/late=20ms/atonce=1", milliseconds)
			if err != nil {
				return nil, err
			}
			twenty, err := benchmark(ctx, l, "./adapter", "BenchmarkPush/late=20ms/atonce=20", milliseconds)
			if err != nil {
				return nil, err
			}
			return func(ctx context.Context) (float64, error) {
				a, err := one(ctx)
				if err != nil {
					return 0, err
				}
				b, err := twenty(ctx)
				l.note("one", a, "ms")
				l.note("20 at once", b, "ms")
				return b / a, err
			}, nil
		}, rounds: 5,
	},
}

func milliseconds(r benchmarkResult) float64 { return r.nanoseconds / 1e6 }

// pushOperations is how many operations the API of a push has.
const pushOperations = 10

// push pushes a project of one API, other than it was, and returns how long that took.
func (c *changer) push(ctx context.Context, project string) (time.Duration, error) {
	turn := c.turns.Add(1)
	body, err := c.pushed(project, fmt.Sprintf("/turn%06d", turn))
	if err != nil {
		return 0, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPut, strings.TrimSuffix(c.ready, "/readyz")+"/api/v1/projects/"+project+"?wait=30s", bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	request.Header.Set("Content-Type", "application/zip")
	request.Header.Set("Authorization", "Bearer "+c.token)
	began := time.Now()
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	took := time.Since(began)
	if err == nil && response.StatusCode/100 != 2 {
		err = fmt.Errorf("push: %s: %s", response.Status, answer)
	}
	return took, err
}

// pushed is the archive of a project with one API, which has one path that is its own this time.
func (c *changer) pushed(project, path string) ([]byte, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "openapi: 3.0.3\ninfo: {title: %s, version: 1.0.0}\nx-wso2-basePath: /%[1]s/1.0.0\nservers: [{url: \"http://%s\"}]\npaths:\n", project, c.fleet.backends[0])
	fmt.Fprintf(&b, "  %s: {get: {responses: {\"200\": {description: ok}}}}\n", path)
	for i := range pushOperations - 1 {
		fmt.Fprintf(&b, "  /thing%d/{id}: {get: {parameters: [{name: id, in: path, required: true, schema: {type: string}}], responses: {\"200\": {description: ok}}}}\n", i)
	}
	var out bytes.Buffer
	archive := zip.NewWriter(&out)
	f, err := archive.Create("api_definitions/" + project + ".yaml")
	if err == nil {
		_, err = io.WriteString(f, b.String())
	}
	if err == nil {
		err = archive.Close()
	}
	return out.Bytes(), err
}

func (c *changer) pushMany(ctx context.Context) error {
	for range changesPerSample {
		if _, err := c.push(ctx, "pushed"); err != nil {
			return err
		}
	}
	return nil
}

// pushes measures 100 pushes for a high part of them, 20 for the median.
func pushes(apis int, part float64) func(context.Context, *lab) (sample, error) {
	return func(ctx context.Context, l *lab) (sample, error) {
		c, err := l.changer(ctx, apis)
		if err != nil {
			return nil, err
		}
		n := 20
		if part > 0.5 {
			n = 100
		}
		return func(ctx context.Context) (float64, error) {
			took := make([]time.Duration, n)
			for i := range took {
				if took[i], err = c.push(ctx, "pushed"); err != nil {
					return 0, err
				}
			}
			slices.Sort(took)
			return took[int(part*float64(n-1)+0.5)].Seconds() * 1000, nil
		}, nil
	}
}

// atOnce measures so many pushes side by side, of projects that are there, against one.
func atOnce(n int) func(context.Context, *lab) (sample, error) {
	return func(ctx context.Context, l *lab) (sample, error) {
		c, err := l.changer(ctx, 10)
		if err != nil {
			return nil, err
		}
		all := func(ctx context.Context) (time.Duration, error) {
			began := time.Now()
			group, ctx := errgroup.WithContext(ctx)
			for i := range n {
				group.Go(func() error {
					_, err := c.push(ctx, fmt.Sprintf("pushed%02d", i))
					return err
				})
			}
			err := group.Wait()
			return time.Since(began), err
		}
		if _, err := all(ctx); err != nil { // they are there
			return nil, err
		}
		return func(ctx context.Context) (float64, error) {
			const times = 10
			var single, many time.Duration
			for range times {
				took, err := c.push(ctx, "pushed00")
				if err != nil {
					return 0, err
				}
				single += took
			}
			for range times / 2 {
				took, err := all(ctx)
				if err != nil {
					return 0, err
				}
				many += took
			}
			one, twenty := single.Seconds()*1000/times, many.Seconds()*1000/(times/2)
			l.note("one", one, "ms")
			l.note(fmt.Sprint(n, " at once"), twenty, "ms")
			return twenty / one, nil
		}, nil
	}
}

// readToken is the admin's, which the gateway has made.
func readToken(file string) (string, error) {
	text, err := os.ReadFile(file)
	return strings.TrimSpace(string(text)), err
}
