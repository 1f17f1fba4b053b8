package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/freshet-io/freshet/cmd/freshet/internal/evidence"
	"github.com/freshet-io/freshet/libs/transparency"
	"github.com/spf13/cobra"
)

func auditProveCommand(c *client) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use: "prove EVENT|POSITION", Short: "Write a proof that an event is in the log, with the event (C2SP tlog-proof)", Args: cobra.ExactArgs(1),
		ValidArgsFunction: once(c.names("events")),
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
				return usagef("the proof is without its event; in a pack they are verified together: freshet audit verify")
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
	var file, dir string
	cmd := &cobra.Command{
		Use: "export MODEL | MODEL@VERSION", Short: "Write a pack of the evidence about a model, or one version of it, for anyone to verify",
		Args: cobra.ExactArgs(1), ValidArgsFunction: once(either(c.names("models"), c.names("versions"))),
		Long: "Write a pack of the evidence about a model: every event of the ripples that led to it, evaluated it and moved it, and of what\n" +
			"freshet why names, back to the first data commit; each with its proof, under one signed checkpoint. On any machine,\n" +
			"freshet audit verify PACK --key … verifies it and decides over every candidate again.",
		RunE: func(cmd *cobra.Command, args []string) error {
			if file != "" && dir != "" {
				return usagef("name a file or a directory, not both")
			}
			q, model := url.Values{}, args[0]
			if strings.Contains(model, "@") {
				v, err := c.version(cmd.Context(), model)
				if err != nil {
					return err
				}
				model = v.model
				q.Set("version", strconv.FormatInt(v.number, 10))
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
			if !c.forPrograms() {
				cmd.Println("wrote", name)
			}
			return c.packReport(cmd, evidence.VerifyPack(files, key))
		},
	}
	cmd.Flags().StringVar(&file, "file", "", "tar to write; MODEL-evidence.tar if empty")
	cmd.Flags().StringVar(&dir, "dir", "", "new directory to write instead of a tar")
	return cmd
}

func (c *client) packReport(cmd *cobra.Command, p evidence.Pack) error {
	if c.forPrograms() {
		if err := c.encodeValue(cmd.OutOrStdout(), p); err != nil {
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
