package cli

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"

	"github.com/freshet-io/freshet/libs/transparency"
	"github.com/spf13/cobra"
)

var checkpoints = resource{
	noun: "checkpoints", arg: "SIZE", about: "signed checkpoints of the archive, the newest first", path: "/v1/checkpoints", limit: true,
	columns: slices.Concat([]column{col("size", "size"), calc("root", short("root")), col("signed", "time")}, wide(id("event", "event"))),
	name:    firstOf("size"),
}

func checkpointsCommand(c *client) *cobra.Command {
	return group("checkpoints", "Signed checkpoints over the log's archive", checkpoints.list(c, "list"), checkpoints.show(c), checkpointsSign(c))
}

func keysCommand(c *client) *cobra.Command {
	return group("keys", "The public key that checkpoints are signed with", keysShow(c))
}

func keysShow(c *client) *cobra.Command {
	return &cobra.Command{
		Use: "show", Short: "Print the public key that checkpoints are signed with", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			key, err := c.publicKey(cmd.Context())
			if err != nil {
				return err
			}
			if c.forPrograms() {
				return c.encodeValue(cmd.OutOrStdout(), map[string]string{"key": key})
			}
			cmd.Println(key)
			return nil
		},
	}
}

func checkpointsSign(c *client) *cobra.Command {
	return &cobra.Command{
		Use: "sign", Short: "Have a checkpoint signed over everything up to now, and print it", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var signed struct{ Note string }
			raw, err := c.call(cmd.Context(), http.MethodPost, "/v1/checkpoints", nil, "", nil, &signed)
			if err != nil {
				return err
			}
			if c.forPrograms() {
				return c.encode(cmd.OutOrStdout(), raw)
			}
			cmd.Print(signed.Note)
			return nil
		},
	}
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
