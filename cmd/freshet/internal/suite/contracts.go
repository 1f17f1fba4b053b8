package suite

import (
	"io/fs"
	"net/http"
	"path"
	"slices"
	"strings"

	"github.com/freshet-io/freshet/contracts"
	"github.com/freshet-io/freshet/libs/web"
)

// contractsPath is the path of contracts.BaseURL. Whatever host a $id names, every suite
// serves the schema under that path.
const contractsPath = "/contracts/"

// A Contract is where a schema is served, and the URL that names it in $id and in an
// event's dataschema.
type Contract struct {
	Path string `json:"path"`
	ID   string `json:"id"`
}

// contractTypes are the media types of contracts, by what their names end with.
var contractTypes = map[string]string{".json": "application/json", ".yaml": "application/yaml"}

// serveContracts serves every schema at the path of its $id, and the documents that
// describe all of them.
func serveContracts(mux *web.Mux) {
	mux.Handle(web.Route{Pattern: "GET /contracts", Role: web.Reader, Summary: "List the schemas of events and files", Answer: web.Items[Contract]{}},
		func(w http.ResponseWriter, _ *http.Request) {
			var all []Contract
			names, err := fs.Glob(contracts.FS, "*/*/*.json")
			for _, name := range names {
				all = append(all, Contract{Path: contractsPath + name, ID: contracts.BaseURL + name})
			}
			if err != nil {
				web.Problem(w, http.StatusInternalServerError, "Internal error", err.Error())
				return
			}
			web.List(w, all)
		})
	mux.Handle(web.Route{Pattern: "GET /contracts/{document}", Role: web.Reader,
		Summary: "Read asyncapi.yaml, channels.yaml or openapi.json, as this release has it", Answer: web.Media("application/octet-stream")},
		func(w http.ResponseWriter, r *http.Request) { serveContract(w, r.PathValue("document")) })
	mux.Handle(web.Route{Pattern: "GET /contracts/{owner}/{version}/{name}", Role: web.Reader, Summary: "Read a JSON Schema at the path of its $id",
		Answer: web.Media("application/json")},
		func(w http.ResponseWriter, r *http.Request) {
			serveContract(w, r.PathValue("owner")+"/"+r.PathValue("version")+"/"+r.PathValue("name"))
		})
}

// serveContract answers with a file, or says which there are in its place.
func serveContract(w http.ResponseWriter, name string) {
	for _, from := range []fs.FS{contracts.Documents, contracts.FS} {
		raw, err := fs.ReadFile(from, name)
		if err != nil {
			continue
		}
		w.Header().Set("Content-Type", contractTypes[path.Ext(name)])
		w.Header().Set("X-Content-Type-Options", "nosniff")
		_, _ = w.Write(raw) // the client is gone if this fails
		return
	}
	there := contractsIn(path.Dir(name))
	if len(there) == 0 {
		there = contractsIn(".")
	}
	web.Problem(w, http.StatusNotFound, "Not found",
		"there is no contract "+contractsPath+name+". There are "+strings.Join(there, ", ")+". GET /contracts lists all schemas.")
}

// contractsIn are the files and directories in one of the contracts; none where there is
// no such directory.
func contractsIn(dir string) []string {
	var there []string
	for _, from := range []fs.FS{contracts.Documents, contracts.FS} {
		entries, err := fs.ReadDir(from, dir)
		if err != nil {
			continue
		}
		for _, e := range entries {
			name := contractsPath + path.Join(dir, e.Name())
			if e.IsDir() {
				name += "/"
			}
			there = append(there, name)
		}
	}
	slices.Sort(there)
	return slices.Compact(there)
}
