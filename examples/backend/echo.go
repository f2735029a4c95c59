package main

import (
	"io"
	"net/http"
	"time"
)

// echo answers with what arrived, so that one sees what the gateway sends.
func echo(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
	if err != nil {
		answer(w, http.StatusRequestEntityTooLarge, map[string]string{"message": err.Error()})
		return
	}
	answer(w, http.StatusOK, map[string]any{
		"method":   r.Method,
		"path":     r.RequestURI,
		"protocol": r.Proto,
		"host":     r.Host,
		"headers":  r.Header,
		"body":     string(body),
	})
}

// slow answers after the duration in the path ("/slow/2s"), at most a minute.
func slow(w http.ResponseWriter, r *http.Request) {
	wait, err := time.ParseDuration(r.PathValue("duration"))
	if err != nil || wait > time.Minute {
		answer(w, http.StatusBadRequest, map[string]string{"message": "a duration up to 1m was expected"})
		return
	}
	select {
	case <-time.After(wait):
		answer(w, http.StatusOK, map[string]string{"waited": wait.String()})
	case <-r.Context().Done():
	}
}
