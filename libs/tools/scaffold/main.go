// Command scaffold adds to the repository what contributors add most: a service, and an
// event type. What it writes builds, passes the linters and has tests, so that work
// begins with something that runs.
//
//	go run ./scaffold service -root ../.. -name pricing -owner @team
//	go run ./scaffold event -root ../.. -service pricing -name price_changed -kind fact
//
// It checks everything before it writes anything. What it writes by hand-made files'
// rules, it writes once and never again; what follows from those is make generate's.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"strings"
)

func main() {
	log.SetFlags(0)
	if err := run(os.Args[1:], os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		log.Fatal("scaffold: ", err)
	}
}

func run(args []string, out io.Writer) error {
	if len(args) == 0 {
		return errors.New("say what to add: service or event")
	}
	flags := flag.NewFlagSet("scaffold "+args[0], flag.ContinueOnError)
	root := flags.String("root", ".", "the repository")
	name := flags.String("name", "", "of the service (pricing) or of the event (price_changed)")
	switch args[0] {
	case "service":
		owner := flags.String("owner", "", "who reviews its changes: @user, @organisation/team or a mail address")
		if err := flags.Parse(args[1:]); err != nil {
			return err
		}
		return addService(*root, *name, *owner, out)
	case "event":
		service := flags.String("service", "", "that owns the event")
		kind := flags.String("kind", "", "fact or decision")
		if err := flags.Parse(args[1:]); err != nil {
			return err
		}
		return addEvent(*root, *service, *name, *kind, out)
	}
	return fmt.Errorf("there is nothing called %q to add: service or event", args[0])
}

// command runs a program of the developer's: in a directory, in the workspace or, where
// alone, outside of it.
func command(dir string, alone bool, name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "GOWORK=") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	if alone {
		cmd.Env = append(cmd.Env, "GOWORK=off")
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s in %s: %w\n%s", name, strings.Join(args, " "), dir, err, out)
	}
	return nil
}
