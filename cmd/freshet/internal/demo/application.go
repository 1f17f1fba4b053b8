package demo

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// An application asks the served model about each flight before it leaves, and
// tells the feature store what became of it as soon as that is known.
type application struct {
	api *api

	mu      sync.Mutex
	answers map[string]answer // by flight
	asked   int
	failed  int
}

// An answer is what the model said of one flight.
type answer struct {
	late    float64
	version int
}

type tensor struct {
	Name     string `json:"name"`
	Shape    []int  `json:"shape"`
	Datatype string `json:"datatype"`
	Data     any    `json:"data"`
}

func inferRequest(flights []flight) map[string]any {
	n := len(flights)
	id, date, origin, destination := make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	distance := make([]int64, n)
	for i, f := range flights {
		id[i], date[i], origin[i], destination[i], distance[i] = f.id, f.date.Format(time.RFC3339), f.origin, f.destination, f.distance
	}
	bytes := func(name string, data []string) tensor { return tensor{name, []int{n}, "BYTES", data} }
	return map[string]any{"inputs": []tensor{
		bytes("flight_id", id), bytes("date", date), bytes("origin", origin), bytes("destination", destination),
		{"distance", []int{n}, "INT64", distance},
	}}
}

// ask sends all flights in one request. Before the model serves, there is
// nobody to ask, which is no failure.
func (a *application) ask(ctx context.Context, flights []flight) error {
	if len(flights) == 0 {
		return nil
	}
	var out struct {
		Outputs []struct {
			Name string    `json:"name"`
			Data []float64 `json:"data"`
		} `json:"outputs"`
	}
	err := a.api.post(ctx, "/v2/models/flight-delays/infer", inferRequest(flights), &out)
	if err != nil {
		if s := status(err); s == http.StatusNotFound {
			return nil
		}
		a.mu.Lock()
		a.failed += len(flights)
		a.mu.Unlock()
		return fmt.Errorf("asking about %d flights: %w", len(flights), err)
	}
	columns := map[string][]float64{}
	for _, o := range out.Outputs {
		columns[o.Name] = o.Data
	}
	late, version := columns["late"], columns["model_version"]
	if len(late) != len(flights) || len(version) != len(flights) {
		return fmt.Errorf("asked about %d flights, got %d predictions of %d versions", len(flights), len(late), len(version))
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked += len(flights)
	for i, f := range flights {
		a.answers[f.id] = answer{late[i], int(version[i])}
	}
	return nil
}

// pushOutcomes pushes outcomes to the online feature store.
func (a *application) pushOutcomes(ctx context.Context, flights []flight) error {
	if len(flights) == 0 {
		return nil
	}
	n := len(flights)
	id, date, origin, destination := make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	delay, distance := make([]int64, n), make([]int64, n)
	for i, f := range flights {
		id[i], date[i], origin[i], destination[i] = f.id, f.date.Format(time.RFC3339), f.origin, f.destination
		delay[i], distance[i] = f.delay, f.distance
	}
	return a.api.post(ctx, "/push", map[string]any{"push_source_name": "flights", "to": "online", "df": map[string]any{
		"flight_id": id, "date": date, "delay": delay, "distance": distance, "origin": origin, "destination": destination,
	}}, nil)
}
