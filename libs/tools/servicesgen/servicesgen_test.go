package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/freshet-io/freshet/libs/tools/services"
	"github.com/stretchr/testify/require"
)

func TestRoutesAndSynopsisAreReadFromSource(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	write := func(path, text string) {
		path = filepath.Join(root, "services", "price-list", path)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	}
	list := services.Service{Name: "price-list"}
	write("module.go", "package pricelist\n")
	_, err := look(root, list)
	require.ErrorContains(t, err, "doc.go has no package comment")

	write("doc.go", "// Package pricelist decides prices. It keeps them.\npackage pricelist\n")
	write("internal/edge/edge.go", "package edge\n\nvar routes = []string{\"POST /v1/prices\", `GET /v1/prices/{id}`, \"GET nothing\", \"/v1/none\"}\n")
	write("internal/edge/edge_test.go", "package edge\n\nconst asked = \"GET /v1/asked\"\n")
	write("internal/edge/testdata/x.go", "no Go at all")
	got, err := look(root, list)
	require.NoError(t, err)
	require.Equal(t, service{Service: list, Synopsis: "decides prices.", Routes: []string{"GET /v1/prices/{id}", "POST /v1/prices"}}, got)
}

func TestOnlyWhatIsBetweenTheMarksIsWritten(t *testing.T) {
	t.Parallel()
	got, err := between([]byte("a\n<\nold\n>\nb\n"), "<\n", ">\n", []byte("new\n"))
	require.NoError(t, err)
	require.Equal(t, "a\n<\nnew\n>\nb\n", string(got))
	for _, file := range []string{"a\n>\n", "<\na\n", ">\n<\n"} {
		_, err := between([]byte(file), "<\n", ">\n", nil)
		require.ErrorContains(t, err, "put them back")
	}
}
