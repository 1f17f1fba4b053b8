package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/freshet-io/freshet/events"
	"github.com/spf13/cobra"
)

var ofDataset = filter{flag: "dataset", usage: "only of this dataset", query: "dataset", of: "datasets"}

var datasets = resource{
	noun: "datasets", arg: "DATASET", about: "datasets and how far they are", path: "/v1/datasets",
	columns: slices.Concat([]column{col("dataset", "dataset"), col("commits", "commits"), col("rows", "rows"), col("to", "max_time"),
		calc("commit", short("commit")), col("repository", "repository")}, wide(calc("spec", short("spec_digest")))),
	filters: []filter{{flag: "repository", usage: "only of this repository", path: "repository", of: "repos"}},
	name:    firstOf("dataset"),
}

var commits = resource{
	noun: "commits", arg: "DATASET#NUMBER", about: "data commits, the newest first", fetch: fetchCommits, limit: true, most: mostLimit,
	columns: slices.Concat([]column{col("dataset", "dataset"), col("number", "number"), calc("commit", short("commit")), col("added rows", "added_rows"),
		col("rows", "rows"), col("quarantined", "quarantined"), col("from", "min_time"), col("to", "max_time"), col("committed", "committed")},
		wide(id("event", "event"), id("arrival", "arrival"))),
	filters: []filter{ofDataset},
	name:    func(i item) string { return text(i["dataset"]) + "#" + text(i["number"]) },
	ids:     []string{"commit", "event"},
}

// fetchCommits asks for one dataset's commits, or for every dataset's. The route does not
// repeat the dataset, which a table of many needs.
func fetchCommits(ctx context.Context, c *client, q url.Values) (list, error) {
	dataset := q.Get("dataset")
	q.Del("dataset")
	each := func(name string) (list, error) {
		var l list
		_, err := c.get(ctx, "/v1/datasets/"+url.PathEscape(name)+"/commits", q, &l)
		for n, i := range l.Items {
			i["dataset"] = name
			if l.raw[n], err = json.Marshal(i); err != nil {
				return l, err
			}
		}
		return l, err
	}
	if dataset != "" {
		return each(dataset)
	}
	return ofAll(ctx, c, datasets, each, "committed")
}

var views = resource{
	noun: "views", arg: "VIEW", about: "feature views and how far they are computed", path: "/v1/views",
	columns: slices.Concat([]column{col("view", "view"), col("version", "version"), calc("digest", short("digest")), col("commits", "commits"),
		col("rows", "rows"), col("through", "through"), col("computed", "last_computed"), col("error", "error"), col("last error", "last_error")},
		wide(col("dataset", "spec.dataset"), col("declared", "declared_at"))),
	filters: []filter{{flag: "dataset", usage: "only over this dataset", path: "spec.dataset", of: "datasets"}},
	name:    firstOf("view"),
}

func datasetsCommand(c *client) *cobra.Command { return datasets.group(c, "Datasets") }

func commitsCommand(c *client) *cobra.Command {
	return commits.group(c, "Data commits, each a DATASET#NUMBER")
}

func viewsCommand(c *client) *cobra.Command { return views.group(c, "Feature views") }

func dataCommand(c *client) *cobra.Command {
	var dataset, format string
	var w waiting
	publish := &cobra.Command{
		Use: "publish FILE…", Short: "Upload files and announce them for a dataset", Args: cobra.MinimumNArgs(1),
		Example: "  freshet data publish 2001-01-06.parquet --dataset flights --wait",
		RunE:    func(cmd *cobra.Command, args []string) error { return c.publish(cmd, dataset, format, args, &w) },
	}
	publish.Flags().StringVar(&dataset, "dataset", "", "the dataset (required)")
	publish.Flags().StringVar(&format, "format", "", "csv, jsonl or parquet; default: by each file")
	complete(publish, "dataset", c.names("datasets"))
	complete(publish, "format", fixed("csv", "jsonl", "parquet"))
	required(publish, "dataset")
	w.flags(publish)
	return group("data", "Data that arrives", publish)
}

// required makes cobra refuse a command line without a flag.
func required(cmd *cobra.Command, flags ...string) {
	for _, f := range flags {
		if err := cmd.MarkFlagRequired(f); err != nil {
			refuse(cmd, err)
		}
	}
}

// publish uploads files and posts one arrival for them all. Its id follows from
// their bytes, so that publishing the same files again changes nothing.
func (c *client) publish(cmd *cobra.Command, dataset, format string, files []string, w *waiting) error {
	arrival := events.Arrival{Dataset: dataset}
	sum := sha256.New()
	for _, path := range files {
		ref, err := c.upload(cmd, path)
		if err != nil {
			return err
		}
		fmt.Fprintf(sum, "%s %s\n", ref.Digest, filepath.Base(path))
		arrival.Files = append(arrival.Files, events.ArrivalFile{URI: ref.URI, Digest: ref.Digest, Format: format, Name: filepath.Base(path)})
	}
	body := map[string]any{
		"specversion": "1.0", "type": "data.arrived", "source": "urn:freshet-cli", "datacontenttype": "application/json",
		"id": hex.EncodeToString(sum.Sum(nil))[:32], "subject": dataset, "data": arrival,
	}
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	var answer recorded
	raw, err := c.call(cmd.Context(), http.MethodPost, "/v1/arrivals", nil, "application/cloudevents+json", strings.NewReader(string(b)), &answer)
	if err != nil {
		return err
	}
	switch {
	case w.on:
		return c.follow(cmd, answer.ID, w)
	case c.forPrograms():
		return c.encode(cmd.OutOrStdout(), raw)
	case answer.Existing:
		cmd.Printf("these files were published to %s before (event %s)\n", dataset, answer.ID)
	default:
		cmd.Printf("published %d file(s) to %s: freshet ripples show %s\n", len(files), dataset, answer.ID)
	}
	return nil
}

type uploaded struct {
	Digest string `json:"digest"`
	URI    string `json:"uri"`
}

func (c *client) upload(cmd *cobra.Command, path string) (ref uploaded, err error) {
	f, err := os.Open(path)
	if err != nil {
		return uploaded{}, err
	}
	if info, statErr := f.Stat(); statErr == nil && info.IsDir() {
		return uploaded{}, errors.Join(usagef("%s is a directory: name its files, such as %s", path, filepath.Join(path, "*.csv")), f.Close())
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	// Large files take as long as they take.
	res, err := c.open(cmd.Context(), http.MethodPut, "/v1/files", nil, "application/octet-stream", io.NopCloser(f))
	if err != nil {
		return uploaded{}, fmt.Errorf("%s: %w", path, err)
	}
	defer res.Body.Close() //nolint:errcheck // only read from
	if err := json.NewDecoder(res.Body).Decode(&ref); err != nil {
		return uploaded{}, fmt.Errorf("%s: the suite's answer: %w", path, err)
	}
	return ref, nil
}
