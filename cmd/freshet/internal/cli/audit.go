package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/freshet-io/freshet/cmd/freshet/internal/evidence"
	"github.com/freshet-io/freshet/libs/archive"
	"github.com/freshet-io/freshet/libs/kafka"
	"github.com/freshet-io/freshet/libs/transparency"
	kgo "github.com/segmentio/kafka-go"
	"github.com/spf13/cobra"
)

// errUnsound: a verification found something; what, has been printed.
var errUnsound = errors.New("it differs from what was signed")

func auditCommand(c *client) *cobra.Command {
	cmd := group("audit", "Verify the log, prove events, and export evidence", auditKeyCommand(c), auditCheckpointCommand(c), auditDumpCommand(),
		auditVerifyCommand(c), auditProveCommand(c), auditCheckProofCommand(c), auditExportCommand(c))
	cmd.Long = "Verify the log, prove events, and export evidence.\n\n" +
		"A suite signs checkpoints over its log. Keep its public key (freshet audit key) and, now and then, a checkpoint\n" +
		"(freshet audit checkpoint) where its operators cannot change them: with them you can detect an altered log."
	return cmd
}

func auditKeyCommand(c *client) *cobra.Command {
	return &cobra.Command{
		Use: "key", Short: "Print the public key that checkpoints are signed with", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			key, err := c.publicKey(cmd.Context())
			if err != nil {
				return err
			}
			cmd.Println(key)
			return nil
		},
	}
}

func auditCheckpointCommand(c *client) *cobra.Command {
	return &cobra.Command{
		Use: "checkpoint", Short: "Have a checkpoint signed over everything up to now, and print it", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var signed struct{ Note string }
			raw, err := c.call(cmd.Context(), http.MethodPost, "/v1/checkpoints", nil, "", nil, &signed)
			if err != nil {
				return err
			}
			if c.output == "json" {
				return indented(cmd.OutOrStdout(), raw)
			}
			cmd.Print(signed.Note)
			return nil
		},
	}
}

func auditDumpCommand() *cobra.Command {
	var addr string
	cmd := &cobra.Command{
		Use: "dump DIR", Short: "Copy the log out of Kafka into a new directory, up to the newest checkpoint", Args: cobra.ExactArgs(1),
		Long: "Copy the log out of Kafka into a new directory, up to the newest signed checkpoint (freshet audit checkpoint signs one\n" +
			"over everything up to now). The directory holds events-….jsonl with one event per line, checkpoint and key.",
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := kafkaClient(addr)
			if err != nil {
				return err
			}
			defer client.Close()
			signed, err := evidence.Dump(cmd.Context(), client, args[0], counter(cmd, "copied"))
			if err != nil {
				return fmt.Errorf("copying the log: %w", kafkaAway(addr, err))
			}
			cmd.Printf("%d events in %s, signed by %s\n", signed.Size, args[0], transparency.KeyID(signed.Key))
			return nil
		},
	}
	kafkaFlag(cmd, &addr)
	return cmd
}

func auditVerifyCommand(c *client) *cobra.Command {
	var addr string
	var keys, kept []string
	cmd := &cobra.Command{
		Use: "verify [DIR | FILE]", Short: "Verify a copy of the log, a pack, or the log's archive in Kafka", Args: cobra.MaximumNArgs(1),
		Long: "Verify a copy of the log (freshet audit dump), a pack (freshet audit export), or the archive in Kafka (--kafka).\n" +
			"It needs no suite. Without --key it takes the public key from what it verifies: that shows damage, not forgery.",
		RunE: func(cmd *cobra.Command, args []string) error {
			known, err := readKeys(keys)
			if err != nil {
				return err
			}
			o := evidence.Options{Keys: known, Progress: func(n int64) { counter(cmd, "verified")(n, 0) }}
			for _, name := range kept {
				b, err := os.ReadFile(name)
				if err != nil {
					return fmt.Errorf("the kept checkpoint: %w", err)
				}
				o.Checkpoints = append(o.Checkpoints, string(b))
			}
			switch {
			case len(args) == 1 && addr != "":
				return fmt.Errorf("%s and --kafka %s are both named: choose one", args[0], addr)
			case len(args) == 1:
				return c.verifyPath(cmd, args[0], o)
			case addr != "":
				client, err := kafkaClient(addr)
				if err != nil {
					return err
				}
				defer client.Close()
				r, err := evidence.VerifyTopic(cmd.Context(), client, o)
				return c.report(cmd, r, kafkaAway(addr, err))
			}
			return errors.New("name what to verify: a directory or file, or Kafka's address with --kafka")
		},
	}
	cmd.Flags().StringVar(&addr, "kafka", "", "address of Kafka, to verify the archive there")
	cmd.Flags().StringArrayVar(&keys, "key", nil, "public key, or a file with public keys; may be given several times")
	cmd.Flags().StringArrayVar(&kept, "checkpoint", nil, "file with a checkpoint that you kept: the log must continue it")
	return cmd
}

func (c *client) verifyPath(cmd *cobra.Command, path string, o evidence.Options) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.IsDir() {
		if _, err := os.Stat(filepath.Join(path, "statement")); errors.Is(err, fs.ErrNotExist) {
			r, err := evidence.VerifyCopy(os.DirFS(path), o)
			return c.report(cmd, r, err)
		}
	}
	files, err := evidence.ReadPack(path)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if len(o.Checkpoints) > 0 {
		return errors.New("--checkpoint is for a whole log: a pack has too few events to compare it with")
	}
	return c.packReport(cmd, evidence.VerifyPack(files, o.Keys...))
}

func (c *client) report(cmd *cobra.Command, r evidence.Report, err error) error {
	if f, ok := cmd.ErrOrStderr().(*os.File); ok && terminal(f) {
		cmd.PrintErr("\r\033[K")
	}
	if err != nil {
		return err
	}
	if c.output == "json" {
		if err := printJSON(cmd, r); err != nil {
			return err
		}
	} else {
		for _, f := range r.Findings {
			cmd.Println(f)
		}
		for _, name := range r.Foreign {
			cmd.Println(name + ": it is not part of a copy, and was not checked")
		}
		if r.More {
			cmd.Println("… and the rest was not read")
		}
		if len(r.Findings) == 0 {
			cmd.Println("sound:", r.Summary())
			if left := r.Events - r.Covered; left > 0 {
				cmd.Printf("  the last %d events are not covered by a checkpoint yet; a checkpoint itself is covered by the next one\n", left)
			}
		}
		untrusted(cmd, r.Trusted, r.Keys)
	}
	if len(r.Findings) > 0 {
		return errUnsound
	}
	return nil
}

func untrusted(cmd *cobra.Command, trusted bool, keys []string) {
	if trusted || len(keys) == 0 {
		return
	}
	cmd.Println("  the key was in the copy itself: compare it with the one its owner published, or give that with --key")
	for _, k := range keys {
		cmd.Println("  " + k)
	}
}

func (c *client) packReport(cmd *cobra.Command, p evidence.Pack) error {
	if c.output == "json" {
		if err := printJSON(cmd, p); err != nil {
			return err
		}
	} else {
		for _, f := range p.Findings {
			cmd.Println(f)
		}
		if len(p.Findings) == 0 {
			cmd.Printf("sound: %s: %d events, each proven under a checkpoint over %d, signed by %s\n",
				strings.Join(p.About, ", "), p.Events, p.Size, transparency.KeyID(p.Key))
			for _, v := range p.Versions {
				printVersion(cmd, v)
			}
		}
		untrusted(cmd, p.Trusted, []string{p.Key})
	}
	if len(p.Findings) > 0 {
		return errUnsound
	}
	return nil
}

func printVersion(cmd *cobra.Command, v evidence.Version) {
	verdict := "refused"
	if v.Passed {
		verdict = "passed"
	}
	cmd.Printf("%s v%d, run %s: decided again, and %s as recorded\n", v.Model, v.Version, v.Run, verdict)
	cmd.Printf("  artifact %s, training set %s\n", v.Artifact, v.TrainingSet)
	cmd.Printf("  code %s of %s\n", v.Code.Revision, v.Code.Repository)
	for _, d := range v.Data {
		cmd.Printf("  data commits 1 to %d of %s, the last %s\n", d.Number, d.Dataset, d.Commit)
	}
	for _, g := range v.Gates {
		word := "refused"
		if g.Passed {
			word = "passed"
		}
		b, err := json.Marshal(g.Values)
		if err != nil {
			b = nil
		}
		cmd.Printf("  gate %s %s: %s %s\n", g.Name, word, g.CEL, b)
	}
	for _, s := range v.History {
		cmd.Printf("  %s %s\n", s.Time.Format("2006-01-02 15:04:05"), s.What)
	}
}

func auditProveCommand(c *client) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use: "prove ID|SEQUENCE", Short: "Write a proof that an event is in the log, with the event (C2SP tlog-proof)", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := c.eventID(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			b, err := c.bytes(cmd.Context(), "/v1/events/"+url.PathEscape(id)+"/proof", nil)
			if err != nil {
				return err
			}
			if file == "" {
				_, err := cmd.OutOrStdout().Write(b)
				return err
			}
			if err := os.WriteFile(file, b, 0o644); err != nil { //nolint:gosec // it is made to be shown
				return err
			}
			cmd.Println("wrote", file)
			return nil
		},
	}
	cmd.Flags().StringVar(&file, "file", "", "file to write; standard output if empty")
	return cmd
}

func auditCheckProofCommand(c *client) *cobra.Command {
	var keys []string
	var show bool
	cmd := &cobra.Command{
		Use: "check-proof FILE", Short: "Check a proof, without a suite where --key is given", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			b, err := os.ReadFile(args[0])
			if err != nil {
				return err
			}
			known, err := readKeys(keys)
			if err != nil {
				return err
			}
			if len(known) == 0 {
				key, err := c.publicKey(cmd.Context())
				if err != nil {
					return fmt.Errorf("the public key is asked of the suite where --key is not given: %w", err)
				}
				known = []string{key}
			}
			p, err := transparency.ParseProof(b)
			if err != nil {
				return err
			}
			if p.Record == nil {
				return errors.New("the proof is without its event; in a pack they are verified together: freshet audit verify")
			}
			signed, key, err := p.Check(p.Record, known...)
			if err != nil {
				return err
			}
			if show {
				cmd.Println(string(p.Record))
				return nil
			}
			cmd.Printf("sound: the event is number %d of the %d under the checkpoint signed by %s\n", p.Index+1, signed.Size, transparency.KeyID(key))
			return nil
		},
	}
	cmd.Flags().StringArrayVar(&keys, "key", nil, "public key, or a file with public keys; may be given several times")
	cmd.Flags().BoolVar(&show, "show", false, "print the event that was proven")
	return cmd
}

func auditExportCommand(c *client) *cobra.Command {
	var model, file, dir string
	var version int64
	cmd := &cobra.Command{
		Use: "export --model MODEL", Short: "Write a pack of the evidence about a model, for anyone to verify", Args: cobra.NoArgs,
		Long: "Write a pack of the evidence about a model: every event of the ripples that led to it, evaluated it and moved it, and of what\n" +
			"freshet why names, back to the first data commit; each with its proof, under one signed checkpoint. On any machine,\n" +
			"freshet audit verify PACK --key … verifies it and decides over every candidate again.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if file != "" && dir != "" {
				return errors.New("name a file or a directory, not both")
			}
			q := url.Values{}
			if version != 0 {
				q.Set("version", strconv.FormatInt(version, 10))
			}
			b, err := c.bytes(cmd.Context(), "/v1/evidence/"+url.PathEscape(model), q)
			if err != nil {
				return err
			}
			files, err := transparency.ReadTar(bytes.NewReader(b))
			if err != nil {
				return fmt.Errorf("the suite's answer: %w", err)
			}
			key, err := c.publicKey(cmd.Context())
			if err != nil {
				return err
			}
			name := file
			if dir != "" {
				name, err = dir, evidence.WriteDir(dir, files)
			} else {
				if name == "" {
					name = model + "-evidence.tar"
				}
				err = os.WriteFile(name, b, 0o644) //nolint:gosec // it is made to be shown
			}
			if err != nil {
				return err
			}
			cmd.Println("wrote", name)
			return c.packReport(cmd, evidence.VerifyPack(files, key))
		},
	}
	cmd.Flags().StringVar(&model, "model", "", "the model")
	cmd.Flags().Int64Var(&version, "version", 0, "one version of it; all if 0")
	cmd.Flags().StringVar(&file, "file", "", "tar to write; MODEL-evidence.tar if empty")
	cmd.Flags().StringVar(&dir, "dir", "", "new directory to write instead of a tar")
	if err := cmd.MarkFlagRequired("model"); err != nil {
		cmd.Printf("%v\n", err)
	}
	return cmd
}

// publicKey asks the suite for its key.
func (c *client) publicKey(ctx context.Context) (string, error) {
	b, err := c.bytes(ctx, "/v1/checkpoints/key", nil)
	if err != nil {
		return "", err
	}
	keys, err := transparency.ParseKeys(string(b))
	if err != nil {
		return "", fmt.Errorf("%s did not answer like a Freshet suite: %w", c.url, err)
	}
	return keys[0], nil
}

// bytes reads an answer that is no JSON.
func (c *client) bytes(ctx context.Context, path string, query url.Values) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	res, err := c.open(ctx, http.MethodGet, path, query, "", nil)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close() //nolint:errcheck // only read from
	return io.ReadAll(io.LimitReader(res.Body, answerLimit))
}

// readKeys takes public keys as they are, or from files.
func readKeys(given []string) ([]string, error) {
	var keys []string
	for _, g := range given {
		if _, err := os.Stat(g); err == nil {
			b, err := os.ReadFile(g)
			if err != nil {
				return nil, err
			}
			g = string(b)
		}
		more, err := transparency.ParseKeys(g)
		if err != nil {
			return nil, fmt.Errorf("--key: %w (nor a file with one)", err)
		}
		keys = append(keys, more...)
	}
	return keys, nil
}

func kafkaFlag(cmd *cobra.Command, addr *string) {
	cmd.Flags().StringVar(addr, "kafka", fromEnv("FRESHET_KAFKA", ""), "address of Kafka (freshet up prints it)")
}

func kafkaClient(addr string) (*kafka.Client, error) {
	if addr == "" {
		return nil, errors.New("name Kafka's address with --kafka or FRESHET_KAFKA: freshet up prints it")
	}
	return kafka.New(strings.Split(addr, ",")...), nil
}

// kafkaAway says what to do where no Kafka answers, or another one than a suite's.
func kafkaAway(addr string, err error) error {
	var network net.Error
	switch {
	case errors.Is(err, kgo.UnknownTopicOrPartition):
		return fmt.Errorf("the Kafka at %s has no topic %s: name a suite's with --kafka (freshet up prints it)", addr, archive.Topic)
	case errors.As(err, &network), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return fmt.Errorf("no Kafka answers at %s: start the suite, or name its Kafka with --kafka (freshet up prints it): %w", addr, err)
	}
	return err
}

// counter shows how far something is, where a person looks on.
func counter(cmd *cobra.Command, done string) func(n, all int64) {
	return func(n, all int64) {
		if f, ok := cmd.ErrOrStderr().(*os.File); !ok || !terminal(f) {
			return
		}
		of := ""
		if all > 0 {
			of = fmt.Sprintf(" of %d", all)
		}
		cmd.PrintErrf("\r%d%s events %s", n, of, done)
	}
}

func terminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

func printJSON(cmd *cobra.Command, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return indented(cmd.OutOrStdout(), b)
}
