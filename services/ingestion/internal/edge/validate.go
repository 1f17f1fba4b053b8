package edge

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"strings"

	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/web"
	"github.com/freshet-io/freshet/services/ingestion/internal/spec"
)

// Limits of what is validated for somebody.
const (
	maxValidate        = 8 << 20
	maxValidateEntries = 20000
	maxDefinition      = 256 << 10
)

// Validator is the route that explains mistakes in definitions.
type Validator struct{ sql spec.SQL }

// NewValidator returns the route.
func NewValidator(sql spec.SQL) *Validator { return &Validator{sql: sql} }

// Register adds the route.
func (v *Validator) Register(m *web.Mux) {
	m.Handle(web.Route{Pattern: "POST /v1/validate", Role: web.Reader, Summary: "Check the definitions of a repository, a tar, or one file of them",
		Query: []web.Parameter{{Name: "file", Summary: "where the one file would be in its repository; freshet.yaml where it is not named"}},
		Body:  web.Media("application/x-tar"), Answer: validated{}}, v.validate)
}

// validated says whether definitions are right, and each mistake.
type validated struct {
	Valid    bool             `json:"valid"`
	Problems []events.Problem `json:"problems"`
}

// validate takes a tar of a repository, or one YAML file whose name, where it is
// not freshet.yaml, is in ?file=.
func (v *Validator) validate(w http.ResponseWriter, r *http.Request) {
	body, err := web.Body(w, r, maxValidate)
	if err != nil {
		web.BodyProblem(w, err)
		return
	}
	files := map[string][]byte{}
	if strings.Contains(r.Header.Get("Content-Type"), "tar") {
		if files, err = definitionsOf(bytes.NewReader(body)); err != nil {
			web.Problem(w, http.StatusBadRequest, "Bad archive", err.Error())
			return
		}
	} else {
		name := r.URL.Query().Get("file")
		if name == "" {
			name = "freshet.yaml"
		}
		if !spec.Relevant(name) {
			web.Problem(w, http.StatusBadRequest, "Bad file name", "file is freshet.yaml, or a .yaml file of datasets/ or features/")
			return
		}
		files[name] = body
	}
	problems := spec.Parse(files, spec.Options{SQL: v.sql}).Problems
	if problems == nil {
		problems = []events.Problem{}
	}
	web.JSON(w, http.StatusOK, validated{Valid: len(problems) == 0, Problems: problems})
}

var errArchive = errors.New("the archive is refused as a whole")

// definitionsOf reads the definition files of a tar. Nothing is unpacked; an
// archive with a name or an entry that would be unsafe to unpack is refused all
// the same, because it is nobody's repository.
func definitionsOf(r io.Reader) (map[string][]byte, error) {
	files := map[string][]byte{}
	t := tar.NewReader(r)
	for entries := 0; ; entries++ {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return files, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%w: it is not a tar", errArchive)
		}
		if entries >= maxValidateEntries {
			return nil, fmt.Errorf("%w: it has more than %d entries", errArchive, maxValidateEntries)
		}
		name := strings.TrimPrefix(strings.TrimSuffix(h.Name, "/"), "./")
		if name == "." || name == "" {
			continue
		}
		if strings.HasPrefix(h.Name, "/") || path.Clean(name) != name || strings.HasPrefix(name, "..") || strings.ContainsAny(name, "\\\x00") {
			return nil, fmt.Errorf("%w: the name %.80q is unsafe", errArchive, h.Name)
		}
		switch h.Typeflag {
		case tar.TypeReg, tar.TypeDir, tar.TypeXGlobalHeader:
		default:
			return nil, fmt.Errorf("%w: %.80q is neither a file nor a directory", errArchive, h.Name)
		}
		if h.Mode&0o6000 != 0 {
			return nil, fmt.Errorf("%w: %.80q is setuid or setgid", errArchive, h.Name)
		}
		if h.Typeflag != tar.TypeReg || !spec.Relevant(name) {
			continue
		}
		if h.Size > maxDefinition {
			return nil, fmt.Errorf("%w: %.80q is too large for definitions", errArchive, h.Name)
		}
		if files[name], err = io.ReadAll(io.LimitReader(t, maxDefinition)); err != nil {
			return nil, fmt.Errorf("%w: it ends early", errArchive)
		}
	}
}
