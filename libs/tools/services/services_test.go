package services

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNamesThatAreTaken(t *testing.T) {
	t.Parallel()
	list := []Service{{Name: "feature-store"}}
	for name, why := range map[string]string{
		"Pricing":       "lower-case",
		"price_list":    "lower-case",
		"-pricing":      "lower-case",
		"price--list":   "lower-case",
		"1st":           "begins with a letter",
		"":              "lower-case",
		"func":          "means something else",
		"events":        "means something else",
		"feature-store": "feature-store is there already",
		"featurestore":  "feature-store is there already",
		"a-name-that-is-far-too-long-for-a-schema": "at most 32 characters",
	} {
		require.ErrorContains(t, CheckName(name, list), why, "%q", name)
	}
	for _, name := range []string{"pricing", "price-list", "a1"} {
		require.NoError(t, CheckName(name, list), name)
	}
	require.Equal(t, "pricelist", Service{Name: "price-list"}.Package())
	for _, owner := range []string{"@team", "@freshet-io/pricing", "who@example.com"} {
		require.NoError(t, CheckOwner(owner))
	}
	for _, owner := range []string{"", "team", "@", "@a b", "@a/b/c"} {
		require.ErrorContains(t, CheckOwner(owner), "CODEOWNERS", "%q", owner)
	}
}

func TestTheListIsReadAsItIsAddedTo(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	path := filepath.Join(root, File)
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	write := func(text string) { require.NoError(t, os.WriteFile(path, []byte(text), 0o600)) }
	write("# why\nservices:\n  - {name: audit, owner: \"@a\", colour: {light: \"#5f6b6a\", dark: \"#a4b0ae\"}}\n")
	pricing := Service{Name: "pricing", Owner: "@team", Colour: NextColour(nil)}
	require.NoError(t, Add(root, pricing))
	list, err := Read(root)
	require.NoError(t, err)
	require.Len(t, list, 2)
	require.Equal(t, pricing, list[1])
	require.NotEqual(t, pricing.Colour, NextColour(list))
	require.ErrorContains(t, Add(root, pricing), "pricing is there already")

	for text, why := range map[string]string{
		"services: []\n": "names no service",
		"services:\n  - {name: audit, owner: \"@a\"}\n":                                                          "#rrggbb",
		"services:\n  - {name: audit, owner: a, colour: {light: \"#5f6b6a\", dark: \"#a4b0ae\"}}\n":              "CODEOWNERS",
		"services:\n  - {name: audit, team: \"@a\"}\n":                                                           "team",
		"services:\n  - {name: audit, owner: \"@a\", colour: {light: \"#5F6B6A\", dark: \"#a4b0ae\"}}\n":         "#rrggbb",
		"services:\n  - {name: Audit, owner: \"@a\", colour: {light: \"#5f6b6a\", dark: \"#a4b0ae\"}}\n":         "lower-case",
		"services:\n  - {name: audit, owner: \"@a\", colour: {light: \"#5f6b6a\", dark: \"#a4b0ae\"}, order: 1}": "order",
	} {
		write(text)
		_, err := Read(root)
		require.ErrorContains(t, err, why, "%s", text)
		require.ErrorContains(t, err, File)
	}
}
