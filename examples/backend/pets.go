package main

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"sync"
)

// pet is the Pet of examples/petstore/api_definitions/petstore.yaml.
type pet struct {
	ID     int64  `json:"id"`
	Name   string `json:"name"`
	Status string `json:"status"`
}

// pets is the store: safe for concurrent use, forgotten at the end.
type pets struct {
	mu   sync.Mutex
	last int64
	byID map[int64]pet
}

func newPets() *pets {
	return &pets{last: 3, byID: map[int64]pet{
		1: {1, "Rex", "available"},
		2: {2, "Misty", "pending"},
		3: {3, "Hugo", "sold"},
	}}
}

func (p *pets) register(mux *http.ServeMux) {
	mux.HandleFunc("GET /v2/pet/findByStatus", p.find)
	mux.HandleFunc("GET /v2/pet/{id}", p.get)
	mux.HandleFunc("POST /v2/pet", p.add)
	mux.HandleFunc("DELETE /v2/pet/{id}", p.remove)
	mux.HandleFunc("GET /v2/store/inventory", p.inventory)
}

func (p *pets) find(w http.ResponseWriter, r *http.Request) {
	wanted := r.URL.Query()["status"]
	p.mu.Lock()
	defer p.mu.Unlock()
	found := []pet{}
	for _, id := range slices.Sorted(maps.Keys(p.byID)) {
		if one := p.byID[id]; len(wanted) == 0 || slices.Contains(wanted, one.Status) {
			found = append(found, one)
		}
	}
	answer(w, http.StatusOK, found)
}

func (p *pets) get(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if one, ok := p.byID[idOf(r)]; ok {
		answer(w, http.StatusOK, one)
		return
	}
	answer(w, http.StatusNotFound, map[string]string{"message": "no such pet"})
}

func (p *pets) add(w http.ResponseWriter, r *http.Request) {
	var one pet
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10)).Decode(&one); err != nil || one.Name == "" {
		answer(w, http.StatusBadRequest, map[string]string{"message": "a pet needs a name"})
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last++
	one.ID = p.last
	if one.Status == "" {
		one.Status = "available"
	}
	p.byID[one.ID] = one
	answer(w, http.StatusCreated, one)
}

func (p *pets) remove(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.byID, idOf(r))
	w.WriteHeader(http.StatusNoContent)
}

func (p *pets) inventory(w http.ResponseWriter, _ *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	counts := map[string]int{}
	for _, one := range p.byID {
		counts[one.Status]++
	}
	answer(w, http.StatusOK, counts)
}

// idOf is the id in the path; what is no number is the id of no pet.
func idOf(r *http.Request) int64 {
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil {
		return 0
	}
	return id
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client went away: nobody is left to tell
}
