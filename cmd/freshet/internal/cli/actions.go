package cli

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/web"
	"github.com/spf13/cobra"
)

// byActor adds to a command, which records what a person does, who that is.
func (c *client) byActor(cmd *cobra.Command) *cobra.Command {
	var actor string
	cmd.Flags().StringVar(&actor, "actor", fromEnv("FRESHET_ACTOR", ""), "who acts: an opaque id, recorded for ever (also FRESHET_ACTOR)")
	cmd.PreRunE = func(cmd *cobra.Command, _ []string) error {
		if actor == "" && !cmd.Flags().Changed("actor") {
			return nil
		}
		if err := web.CheckActor(actor); err != nil {
			return fmt.Errorf("--actor or FRESHET_ACTOR: %w", err)
		}
		c.actor = actor
		return nil
	}
	return cmd
}

// act sends a wish and says that it was recorded.
func (c *client) act(cmd *cobra.Command, path string, body any, done string) error {
	var answer struct {
		ID       string `json:"id"`
		Existing bool   `json:"existing"`
	}
	raw, err := c.post(cmd.Context(), path, body, &answer)
	if err != nil {
		return err
	}
	if c.output == "json" {
		return indented(cmd.OutOrStdout(), raw)
	}
	if answer.ID != "" {
		done += " (event " + answer.ID + ")"
	}
	if answer.Existing {
		done += ", as before"
	}
	cmd.Println(done)
	return nil
}

func approvalsCommand(c *client) *cobra.Command {
	return group("approvals", "Approvals that wait for a person",
		listCommand(c, "list", "List what waits for a person", "/v1/approvals",
			col("model", "model"), col("version", "version"), col("environment", "environment"), col("auc", "candidate.auc"),
			col("log loss", "candidate.log_loss"), col("champion's", "champion.log_loss"), col("rows", "rows"), col("since", "since"), col("state", "state")))
}

// target reads MODEL VERSION ENVIRONMENT.
type target struct {
	Namespace   string `json:"namespace"`
	Model       string `json:"model"`
	Version     int64  `json:"version"`
	Environment string `json:"environment"`
}

func (c *client) target(args []string) (target, error) {
	n, err := strconv.ParseInt(strings.TrimPrefix(args[1], "v"), 10, 64)
	if err != nil || n < 1 {
		return target{}, fmt.Errorf("%q is not a version: write a number such as 3", args[1])
	}
	return target{Namespace: c.namespace, Model: args[0], Version: n, Environment: args[2]}, nil
}

func verdictCommand(c *client, use, short, verdict, done string) *cobra.Command {
	var note string
	cmd := &cobra.Command{
		Use: use + " MODEL VERSION ENVIRONMENT", Short: short, Args: cobra.ExactArgs(3),
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := c.target(args)
			if err != nil {
				return err
			}
			body := struct {
				target
				Verdict string `json:"verdict"`
				Note    string `json:"note,omitempty"`
			}{t, verdict, note}
			return c.act(cmd, "/v1/approvals", body, fmt.Sprintf("%s %s v%d for %s", done, t.Model, t.Version, t.Environment))
		},
	}
	cmd.Flags().StringVar(&note, "note", "", "the reason; recorded with the decision")
	return c.byActor(cmd)
}

func approveCommand(c *client) *cobra.Command {
	return verdictCommand(c, "approve", "Approve a version for an environment", "approve", "approved")
}

func denyCommand(c *client) *cobra.Command {
	return verdictCommand(c, "deny", "Deny a version for an environment", "deny", "denied")
}

func trainCommand(c *client) *cobra.Command {
	return c.byActor(&cobra.Command{
		Use: "train MODEL", Short: "Request a training", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.act(cmd, "/v1/trainings", map[string]any{"namespace": c.namespace, "model": args[0]}, "asked for a training of "+args[0])
		},
	})
}

func rollbackCommand(c *client) *cobra.Command {
	var to int64
	cmd := &cobra.Command{
		Use: "rollback MODEL ENVIRONMENT", Short: "Roll an environment back to the previous version, or to --to", Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			body := map[string]any{"namespace": c.namespace, "model": args[0], "environment": args[1]}
			if cmd.Flags().Changed("to") {
				if to < 1 {
					return fmt.Errorf("--to %d is not a version: write a number such as 3, or leave it out for the previous version", to)
				}
				body["version"] = to
			}
			return c.act(cmd, "/v1/rollbacks", body, "asked to roll back "+args[0]+" in "+args[1])
		},
	}
	cmd.Flags().Int64Var(&to, "to", 0, "the version to roll back to")
	return c.byActor(cmd)
}

func promoteCommand(c *client) *cobra.Command {
	return c.byActor(&cobra.Command{
		Use: "promote MODEL VERSION ENVIRONMENT", Short: "Request the promotion of a version to an environment", Args: cobra.ExactArgs(3),
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := c.target(args)
			if err != nil {
				return err
			}
			return c.act(cmd, "/v1/promotions", t, fmt.Sprintf("asked to promote %s v%d to %s", t.Model, t.Version, t.Environment))
		},
	})
}

func reposCommand(c *client) *cobra.Command {
	var branch, name string
	add := &cobra.Command{
		Use: "add URL", Short: "Watch a Git repository: a directory on this machine, https:// or ssh://", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			where := args[0]
			if info, err := os.Stat(where); err == nil && info.IsDir() {
				if where, err = filepath.Abs(where); err != nil {
					return err
				}
			}
			if name == "" {
				name = strings.ToLower(strings.TrimSuffix(filepath.Base(strings.TrimSuffix(where, "/")), ".git"))
			}
			body := map[string]any{"namespace": c.namespace, "name": name, "url": where, "branch": branch}
			return c.act(cmd, "/v1/repositories", body, "watching "+where+" as "+name)
		},
	}
	add.Flags().StringVar(&branch, "branch", "main", "the protected branch")
	add.Flags().StringVar(&name, "name", "", "the repository's name; default: the last part of its URL")
	return group("repos", "Git repositories", c.byActor(add),
		listCommand(c, "list", "List repositories", "/v1/repositories",
			col("repository", "repository"), col("url", "url"), col("branch", "branch"), col("status", "status"),
			column{"head", short("head")}, column{"revision", short("revision")}, col("changed", "changed"), col("reason", "reason")))
}

func dataCommand(c *client) *cobra.Command {
	var dataset, format string
	publish := &cobra.Command{
		Use: "publish FILE…", Short: "Upload files and announce them for a dataset", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return c.publish(cmd, dataset, format, args) },
	}
	publish.Flags().StringVar(&dataset, "dataset", "", "the dataset (required)")
	publish.Flags().StringVar(&format, "format", "", "csv, jsonl or parquet; default: by each file")
	if err := publish.MarkFlagRequired("dataset"); err != nil {
		publish.RunE = func(*cobra.Command, []string) error { return err }
	}
	return group("data", "Data", publish)
}

// publish uploads files and posts one arrival for them all. Its id follows from
// their bytes, so that publishing the same files again changes nothing.
func (c *client) publish(cmd *cobra.Command, dataset, format string, files []string) error {
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
	var answer struct {
		ID       string `json:"id"`
		Existing bool   `json:"existing"`
	}
	raw, err := c.call(cmd.Context(), http.MethodPost, "/v1/arrivals", nil, "application/cloudevents+json", strings.NewReader(string(b)), &answer)
	if err != nil {
		return err
	}
	if c.output == "json" {
		return indented(cmd.OutOrStdout(), raw)
	}
	if answer.Existing {
		cmd.Printf("these files were published to %s before (event %s)\n", dataset, answer.ID)
		return nil
	}
	cmd.Printf("published %d file(s) to %s: freshet ripples show %s\n", len(files), dataset, answer.ID)
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
		return uploaded{}, errors.Join(fmt.Errorf("%s is a directory: name its files, such as %s", path, filepath.Join(path, "*.csv")), f.Close())
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
