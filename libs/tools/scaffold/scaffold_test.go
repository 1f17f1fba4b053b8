package main

import (
	"bytes"
	"flag"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWhatIsRefusedBeforeAnythingIsWritten(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		why  string
		args []string
	}{
		{"say what to add", nil},
		{"nothing called \"route\"", []string{"route"}},
		{"has lower-case letters", []string{"service", "-name", "Pricing", "-owner", "@team"}},
		{"has lower-case letters", []string{"service", "-owner", "@team"}},
		{"means something else", []string{"service", "-name", "events", "-owner", "@team"}},
		{"feature-store is there already", []string{"service", "-name", "featurestore", "-owner", "@team"}},
		{"training is there already", []string{"service", "-name", "training", "-owner", "@team"}},
		{"CODEOWNERS", []string{"service", "-name", "pricing-of-trains", "-owner", "team"}},
		{"there is no service \"nobody\"", []string{"event", "-service", "nobody", "-name", "price_changed", "-kind", "fact"}},
		{"two or more lower-case words", []string{"event", "-service", "registry", "-name", "changed", "-kind", "fact"}},
		{"two or more lower-case words", []string{"event", "-service", "registry", "-name", "PriceChanged", "-kind", "fact"}},
		{"a fact", []string{"event", "-service", "registry", "-name", "price_changed", "-kind", "wish"}},
		{"io.freshet.registry.v1.champion_changed is there already", []string{"event", "-service", "training", "-name", "champion_changed", "-kind", "fact"}},
		{"is there already: choose another name than model_spec", []string{"event", "-service", "training", "-name", "model_spec", "-kind", "fact"}},
	} {
		args := c.args
		if len(args) > 1 {
			args = append([]string{args[0], "-root", repository}, args[1:]...)
		}
		require.ErrorContains(t, run(args, io.Discard), c.why, "%v", c.args)
	}
	require.ErrorIs(t, run([]string{"event", "-h"}, io.Discard), flag.ErrHelp)
}

func TestAnEventTakesItsPlaceInAFold(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	write := func(name, text string) {
		require.NoError(t, create(filepath.Join(root, "services/mill/internal/state", name), []byte(text)))
	}
	p := place{Service: "mill", Name: "grain_ground", Table: "grain_ground", Go: "GrainGround", Func: "grainGround"}
	edits, err := p.edits(root)
	require.NoError(t, err)
	require.Empty(t, edits, "no fold, no place")

	write("tables.go", "package state\n\nconst FoldVersion = 9\n\nconst Tables = `\nCREATE TABLE a (b text);\n`\n\nconst other = `\n`\n")
	write("apply.go", "package state\n\nfunc Register(f *eventlog.Fold) {\n\teventlog.Apply(f, one)\n\teventlog.Apply(f, two)\n\tthree(f)\n}\n")
	edits, err = p.edits(root)
	require.NoError(t, err)
	ddl, apply := string(edits["services/mill/internal/state/tables.go"]), string(edits["services/mill/internal/state/apply.go"])
	require.Contains(t, ddl, "const FoldVersion = 10\n")
	require.Contains(t, ddl, "CREATE TABLE a (b text);\nCREATE TABLE grain_ground (")
	require.Contains(t, ddl, ");\n`\n\nconst other = `\n`\n")
	require.Contains(t, apply, "\teventlog.Apply(f, two)\n\teventlog.Apply(f, grainGround)\n\tthree(f)\n")
	require.Contains(t, string(edits["services/mill/internal/state/grain_ground.go"]), "func grainGround(")
}

// audit and console read every event, except that nobody is told their own decisions.
func TestWhoReadsAnEvent(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	file := filepath.Join(root, "contracts", "channels.yaml")
	for _, c := range []struct {
		service string
		event   event
		want    string
	}{
		{"mill", event{name: "grain_ground", kind: "fact", reads: true}, "[mill, audit, console]"},
		{"mill", event{name: "grain_ground", kind: "decision"}, "[audit, console]"},
		{"audit", event{name: "grain_ground", kind: "fact"}, "[audit, console]"},
		{"console", event{name: "grain_ground", kind: "fact", reads: true}, "[console, audit]"},
		{"audit", event{name: "grain_ground", kind: "decision"}, "[console]"},
	} {
		require.NoError(t, create(file, []byte("events:\n")))
		require.NoError(t, addChannels(root, c.service, []event{c.event}))
		b, err := os.ReadFile(file)
		require.NoError(t, err)
		require.Contains(t, string(b), "consumers: "+c.want+"\n")
	}
}

func TestGoNames(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{"PriceChanged": "priceChanged", "URLChanged": "urlChanged", "ID": "id", "P50Seen": "p50Seen"} {
		require.Equal(t, want, unexported(name))
	}
	require.Equal(t, "Price changed.", sentence("price_changed"))
	require.Equal(t, names{"price-list", "pricelist", "price_list", "PriceList", "PRICE_LIST", "price_list"}, namesOf("price-list"))
}

// The templates' golden payloads are JSON, each in a file that a test of the events module
// will find.
func TestTemplatesAreWhole(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	for _, e := range own {
		require.NoError(t, contract(root, "templates/contracts/"+e.name, "mill", "mill_"+e.name, namesOf("mill")))
		good, err := filepath.Glob(filepath.Join(root, "contracts/mill/v1/testdata/mill_"+e.name, "valid-*.json"))
		require.NoError(t, err)
		require.Len(t, good, 2)
		text, err := os.ReadFile(filepath.Join(root, "contracts/mill/v1/mill_"+e.name+".json"))
		require.NoError(t, err)
		require.True(t, bytes.Contains(text, []byte(`"title": "mill_`+e.name+`"`)), "%s", text)
	}
}
