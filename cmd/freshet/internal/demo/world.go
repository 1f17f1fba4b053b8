package demo

import (
	"bytes"
	"fmt"
	"sort"
	"time"

	flightdelays "github.com/freshet-io/freshet/examples/flight-delays"
	"github.com/freshet-io/freshet/libs/parquet"
)

// A flight and what became of it.
type flight struct {
	id          string
	date        time.Time
	delay       int64
	distance    int64
	origin      string
	destination string
}

// known is when the flight's delay is known: never before it left.
func (f flight) known() time.Time {
	return f.date.Add(time.Duration(max(f.delay, 0)) * time.Minute)
}

// A world knows all flights of some days; the demo lets the suite see each only
// when it would have been seen.
type world struct {
	byDate  []flight
	byKnown []flight
}

// loadWorld reads the example's flights of days beginning at from.
func loadWorld(from time.Time, days int) (*world, error) {
	w := &world{}
	for d := range days {
		name := from.AddDate(0, 0, d).Format("2006-01-02")
		raw, err := flightdelays.Data.ReadFile("data/" + name + ".parquet")
		if err != nil {
			return nil, fmt.Errorf("the example has no flights of %s: %w", name, err)
		}
		table, err := parquet.ReadFrom(bytes.NewReader(raw), "flight_id", "date", "delay", "distance", "origin", "destination")
		if err != nil {
			return nil, fmt.Errorf("flights of %s: %w", name, err)
		}
		c := table.Columns
		for i := range table.Rows {
			w.byDate = append(w.byDate, flight{
				id: c[0].Strings[i], date: time.UnixMicro(c[1].Times[i]).UTC(), delay: c[2].Ints[i],
				distance: c[3].Ints[i], origin: c[4].Strings[i], destination: c[5].Strings[i],
			})
		}
	}
	sort.SliceStable(w.byDate, func(i, j int) bool { return w.byDate[i].date.Before(w.byDate[j].date) })
	w.byKnown = append([]flight(nil), w.byDate...)
	sort.SliceStable(w.byKnown, func(i, j int) bool { return w.byKnown[i].known().Before(w.byKnown[j].known()) })
	return w, nil
}

// leaving returns the flights that leave in [from, to).
func (w *world) leaving(from, to time.Time) []flight {
	return between(w.byDate, from, to, flight.departs)
}

// becameKnown returns the flights whose delay became known in [from, to).
func (w *world) becameKnown(from, to time.Time) []flight {
	return between(w.byKnown, from, to, flight.known)
}

func (f flight) departs() time.Time { return f.date }

func between(flights []flight, from, to time.Time, at func(flight) time.Time) []flight {
	i := sort.Search(len(flights), func(i int) bool { return !at(flights[i]).Before(from) })
	j := sort.Search(len(flights), func(i int) bool { return !at(flights[i]).Before(to) })
	return flights[i:j]
}

// parquetOf writes flights as the producer publishes them.
func parquetOf(flights []flight) ([]byte, error) {
	t := &parquet.Table{Rows: len(flights), Columns: []parquet.Column{
		{Name: "flight_id", Kind: parquet.String}, {Name: "date", Kind: parquet.Time}, {Name: "delay", Kind: parquet.Int},
		{Name: "distance", Kind: parquet.Int}, {Name: "origin", Kind: parquet.String}, {Name: "destination", Kind: parquet.String},
	}}
	for _, f := range flights {
		c := t.Columns
		c[0].Strings = append(c[0].Strings, f.id)
		c[1].Times = append(c[1].Times, f.date.UnixMicro())
		c[2].Ints = append(c[2].Ints, f.delay)
		c[3].Ints = append(c[3].Ints, f.distance)
		c[4].Strings = append(c[4].Strings, f.origin)
		c[5].Strings = append(c[5].Strings, f.destination)
	}
	return parquet.Encode(t)
}
