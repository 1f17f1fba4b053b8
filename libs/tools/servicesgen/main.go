// Command servicesgen writes what follows from the list of services
// (services/services.yaml) and must be a file: the linter's rule for each service,
// CODEOWNERS, the composition of the suite with each service's routes, the colours of
// pictures, and the table in services/README.md. Written again from the same list and
// the same services it is the same, byte for byte.
package main

import (
	"bytes"
	"embed"
	"flag"
	"fmt"
	"go/format"
	"log"
	"os"
	"path/filepath"
	"text/template"

	"github.com/freshet-io/freshet/libs/tools/generated"
	"github.com/freshet-io/freshet/libs/tools/services"
)

func main() {
	log.SetFlags(0)
	root := flag.String("root", ".", "the repository")
	flag.Parse()
	if err := run(*root); err != nil {
		log.Fatal(err)
	}
}

//go:embed templates
var templates embed.FS

// A service is what templates know of one.
type service struct {
	services.Service
	Synopsis string   // of its package comment
	Routes   []string // patterns of its mux
}

// whole are the files that are generated from their first line to their last, by
// template.
var whole = map[string]string{
	"services.go.tmpl":  "cmd/freshet/internal/suite/zz_services.gen.go",
	"colours.go.tmpl":   "services/audit/internal/past/picture/zz_colours.gen.go",
	"services.css.tmpl": "services/console/internal/page/assets/services.css",
}

// parts are the files of which what is between two marks is generated, by template.
var parts = map[string]struct{ file, begin, end string }{
	"golangci.yml.tmpl": {".golangci.yml", "        # generated:services\n", "        # /generated:services\n"},
	"codeowners.tmpl":   {"CODEOWNERS", "# generated:services\n", "# /generated:services\n"},
	"readme.md.tmpl":    {"services/README.md", "<!-- generated:services -->\n", "<!-- /generated:services -->\n"},
}

func run(root string) error {
	list, err := services.Read(root)
	if err != nil {
		return err
	}
	all := make([]service, len(list))
	for i, s := range list {
		if all[i], err = look(root, s); err != nil {
			return fmt.Errorf("the service %s: %w", s.Name, err)
		}
	}
	t, err := template.ParseFS(templates, "templates/*.tmpl")
	if err != nil {
		return err
	}
	for name, file := range whole {
		var b bytes.Buffer
		if err := t.ExecuteTemplate(&b, name, all); err != nil {
			return err
		}
		text := b.Bytes()
		if filepath.Ext(file) == ".go" {
			if text, err = format.Source(text); err != nil {
				return fmt.Errorf("%s: %w", file, err)
			}
		}
		if err := generated.Write(filepath.Join(root, file), text); err != nil {
			return err
		}
	}
	for name, p := range parts {
		var b bytes.Buffer
		if err := t.ExecuteTemplate(&b, name, all); err != nil {
			return err
		}
		path := filepath.Join(root, p.file)
		old, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		text, err := between(old, p.begin, p.end, b.Bytes())
		if err != nil {
			return fmt.Errorf("%s: %w", p.file, err)
		}
		if err := generated.Write(path, text); err != nil {
			return err
		}
	}
	return nil
}

// between puts a text between two marks.
func between(file []byte, begin, end string, text []byte) ([]byte, error) {
	before, rest, ok := bytes.Cut(file, []byte(begin))
	_, after, also := bytes.Cut(rest, []byte(end))
	if !ok || !also {
		return nil, fmt.Errorf("the lines %q and %q, between which the services are written, are missing: put them back", begin, end)
	}
	return bytes.Join([][]byte{before, []byte(begin), text, []byte(end), after}, nil), nil
}
