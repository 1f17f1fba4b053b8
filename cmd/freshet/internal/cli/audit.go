package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/freshet-io/freshet/cmd/freshet/internal/evidence"
	"github.com/freshet-io/freshet/libs/transparency"
	"github.com/spf13/cobra"
)

// errUnsound: a verification found something; what, has been printed.
var errUnsound = sayNo(errors.New("it differs from what was signed"))

func auditCommand(c *client) *cobra.Command {
	cmd := group("audit", "Verify the log, prove events, and export evidence", auditDumpCommand(),
		auditVerifyCommand(c), auditProveCommand(c), auditCheckProofCommand(c), auditExportCommand(c))
	cmd.Long = "Verify the log, prove events, and export evidence.\n\n" +
		"A suite signs checkpoints over its log. Keep its public key (freshet keys show) and, now and then, a checkpoint\n" +
		"(freshet checkpoints sign) where its operators cannot change them: with them you can detect an altered log."
	return cmd
}

func auditDumpCommand() *cobra.Command {
	var addr string
	cmd := &cobra.Command{
		Use: "dump DIR", Short: "Copy the log out of Kafka into a new directory, up to the newest checkpoint", Args: cobra.ExactArgs(1),
		Long: "Copy the log out of Kafka into a new directory, up to the newest signed checkpoint (freshet checkpoints sign makes one\n" +
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
				return usagef("%s and --kafka %s are both named: choose one", args[0], addr)
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
			return usagef("name what to verify: a directory or file, or Kafka's address with --kafka")
		},
	}
	cmd.Flags().StringVar(&addr, "kafka", "", "address of Kafka, to verify the archive there")
	complete(cmd, "kafka", nothing)
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
		return usagef("--checkpoint is for a whole log: a pack has too few events to compare it with")
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
	if c.forPrograms() {
		if err := c.encodeValue(cmd.OutOrStdout(), r); err != nil {
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
