// Command freshet runs the suite and talks to it.
package main

import (
	"os"

	"github.com/freshet-io/freshet/cmd/freshet/internal/cli"
	"github.com/freshet-io/freshet/services/training"
)

func main() {
	if training.RunBuiltin() { // this process is a training job
		return
	}
	os.Exit(cli.Main())
}
