package service_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"time"

	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/libs/service"
)

// Defaults are in the code; the environment stands over them, and flags over both.
func ExampleConfigure() {
	config := struct {
		Keep time.Duration `env:"FRESHET_MILL_KEEP" help:"how long flour is kept"`
		Rows int           `env:"FRESHET_MILL_ROWS" help:"the most rows of an answer"`
	}{Keep: time.Hour, Rows: 100}
	environment := map[string]string{"FRESHET_MILL_KEEP": "90m"}
	lookup := func(name string) (string, bool) { v, ok := environment[name]; return v, ok }

	flags := flag.NewFlagSet("mill", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	err := errors.Join(service.Configure(flags, lookup, &config), flags.Parse([]string{"--mill-rows", "20"}))
	fmt.Println(config.Keep, config.Rows, err)

	environment["FRESHET_MILL_KEEP"] = "long"
	fmt.Println(service.Configure(flag.NewFlagSet("mill", flag.ContinueOnError), lookup, &config))
	// Output:
	// 1h30m0s 20 <nil>
	// FRESHET_MILL_KEEP="long": use a duration such as 30s or 5m
}

// A module adds constructors of slow work and of loops; what they take comes from the
// other constructors of the service's graph.
func ExampleModules() {
	grind := func() eventlog.Handler { return eventlog.Handler{Kind: "grind", Timeout: time.Minute, Attempts: 3} }
	sweep := func() service.Loop {
		return service.Loop{Name: "sweep", Run: func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}}
	}
	module := func(struct{}) service.Module { return service.Modules(service.Effects(grind), service.Loops(sweep)) }
	service.Main("mill", struct{}{}, module, service.Events{})
}
