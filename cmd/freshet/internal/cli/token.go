package cli

import (
	"cmp"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"

	"github.com/freshet-io/freshet/cmd/freshet/internal/running"
	"github.com/freshet-io/freshet/cmd/freshet/internal/suite"
	"github.com/freshet-io/freshet/libs/web"
	"github.com/spf13/cobra"
)

// token lets this user into the suite at a URL: FRESHET_TOKEN, or what is in the data
// directory that FRESHET_DATA_DIR names, or of the suite that was started there. It is
// empty where there is none.
func token(url string) (string, error) {
	if t := os.Getenv("FRESHET_TOKEN"); t != "" {
		return t, nil
	}
	noted, err := running.DataDir(url)
	if err != nil {
		return "", err
	}
	dir := cmp.Or(os.Getenv("FRESHET_DATA_DIR"), noted)
	if dir == "" {
		return "", nil
	}
	t, err := suite.ReadToken(filepath.Join(dir, suite.TokenFile))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return t, err
}

// authorize adds the suite's token to a request.
func (c *client) authorize(r *http.Request) error {
	t, err := token(c.url)
	if t != "" {
		r.Header.Set("Authorization", "Bearer "+t)
	}
	return err
}

const needsToken = "the suite needs a token, and this one is missing or wrong: set FRESHET_TOKEN, or FRESHET_DATA_DIR to the suite's data directory"

func consoleCommand(c *client) *cobra.Command {
	return &cobra.Command{
		Use: "console", Short: "Print a link that lets one browser into the console", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var link web.ConsoleLink
			raw, err := c.post(cmd.Context(), "/v1/console-links", map[string]any{}, &link)
			if err != nil {
				return err
			}
			if c.forPrograms() {
				return c.encode(cmd.OutOrStdout(), raw)
			}
			cmd.Println(link.URL)
			return nil
		},
	}
}
