package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

// A resource is a noun whose objects a suite lists. Its list and show commands, the
// completion of its names and its short ids are all made of this.
type resource struct {
	noun    string // in the plural, as the command is called
	arg     string // how usage names one, such as RUN
	about   string // what is listed
	columns []column
	filters []filter

	path  string // of the route that lists them
	limit bool   // the route takes a limit,
	most  int    // and no larger one than this; 0 where the largest is what it takes without
	query url.Values
	fetch func(ctx context.Context, c *client, q url.Values) (list, error) // instead of path, of several routes

	name   func(item) string // what show takes
	ids    []string          // paths of ids, of which a beginning is enough; none where the name is no id
	detail func(name string) string
}

// A filter is a flag of a list command.
type filter struct {
	flag, usage string
	query       string   // the parameter of the route; items are picked here where it has none
	path        string   // of the item's value
	of          string   // the noun whose names complete it
	values      []string // or these
	yes         func(item) bool
}

// pathOf is a route about one object.
func pathOf(route string) func(string) string {
	return func(name string) string { return route + "/" + url.PathEscape(name) }
}

const (
	usualLimit = 50
	mostLimit  = 1000
)

// listing are the flags of one list command.
type listing struct {
	r      resource
	limit  int
	watch  bool
	values []string // of the filters
	chosen []bool   // of filters that are yes or no
}

// command lists a resource.
func (r resource) list(c *client, verb string) *cobra.Command {
	l := &listing{r: r, values: make([]string, len(r.filters)), chosen: make([]bool, len(r.filters))}
	cmd := &cobra.Command{
		Use: verb, Short: "List " + r.about, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return l.run(cmd, c) },
	}
	l.flags(c, cmd)
	return cmd
}

func (l *listing) flags(c *client, cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.IntVar(&l.limit, "limit", usualLimit, "list at most this many, 1 to "+strconv.Itoa(mostLimit))
	flags.BoolVarP(&l.watch, "watch", "w", false, "print again whenever something changes, until Ctrl-C")
	complete(cmd, "limit", nothing)
	for n, f := range l.r.filters {
		if f.yes != nil {
			flags.BoolVar(&l.chosen[n], f.flag, false, f.usage)
			continue
		}
		flags.StringVar(&l.values[n], f.flag, "", f.usage)
		switch {
		case f.flag == ofEnvironment.flag:
			complete(cmd, f.flag, c.environmentNames)
		case f.of != "":
			complete(cmd, f.flag, c.names(f.of))
		case f.values != nil:
			complete(cmd, f.flag, fixed(f.values...))
		default:
			complete(cmd, f.flag, nothing)
		}
	}
}

func (l *listing) run(cmd *cobra.Command, c *client) error {
	if l.limit < 1 || l.limit > mostLimit {
		return usagef("--limit %d: 1 to %d is allowed", l.limit, mostLimit)
	}
	s := c.screenOf(cmd)
	draw := func(w io.Writer) error {
		found, err := l.get(cmd.Context(), c)
		if err != nil {
			return err
		}
		return c.show(w, s, found, l.r.columns)
	}
	if l.watch {
		return c.watch(cmd, draw)
	}
	return draw(cmd.OutOrStdout())
}

// show prints items for people or programs.
func (c *client) show(w io.Writer, s screen, l list, columns []column) error {
	if c.forPrograms() {
		return c.encodeValue(w, l.answer())
	}
	return table(w, s, c.output == formatWide, l.Items, columns...)
}

// get lists what the flags ask for.
func (l *listing) get(ctx context.Context, c *client) (list, error) {
	q := url.Values{}
	var here []func(item) bool // filters that the route does not have
	for n, f := range l.r.filters {
		value := l.values[n]
		switch {
		case f.yes != nil && f.query != "" && l.chosen[n]:
			q.Set(f.query, "true")
		case f.yes != nil && l.chosen[n]:
			here = append(here, f.yes)
		case value == "":
		case f.query != "":
			q.Set(f.query, value)
		default:
			here = append(here, func(i item) bool { return text(at(i, f.path)) == value })
		}
	}
	if len(here) == 0 && l.r.limit {
		q.Set("limit", strconv.Itoa(l.limit))
	} else if l.r.limit && l.r.most > 0 {
		q.Set("limit", strconv.Itoa(l.r.most))
	}
	found, err := l.r.fetchAll(ctx, c, q)
	for _, wanted := range here {
		found = found.pick(wanted)
	}
	return found.first(l.limit), err
}

// fetchAll asks the suite.
func (r resource) fetchAll(ctx context.Context, c *client, q url.Values) (list, error) {
	for name, values := range r.query {
		if !q.Has(name) {
			q[name] = values
		}
	}
	if r.fetch != nil {
		return r.fetch(ctx, c, q)
	}
	var l list
	_, err := c.get(ctx, r.path, q, &l)
	return l, err
}

// known are all objects, as far as the suite lists them at once.
func (r resource) known(ctx context.Context, c *client) (list, error) {
	q := url.Values{}
	if r.limit && r.most > 0 {
		q.Set("limit", strconv.Itoa(r.most))
	}
	return r.fetchAll(ctx, c, q)
}

// showOne shows one object of a resource.
func (r resource) show(c *client) *cobra.Command {
	return &cobra.Command{
		Use: "show " + r.arg, Short: "Show " + article(r.arg), Args: cobra.ExactArgs(1), ValidArgsFunction: once(c.names(r.noun)),
		RunE: func(cmd *cobra.Command, args []string) error {
			raw, err := r.one(cmd.Context(), c, args[0])
			if err != nil {
				return err
			}
			if c.forPrograms() {
				return c.encode(cmd.OutOrStdout(), raw)
			}
			return details(cmd.OutOrStdout(), raw)
		},
	}
}

// one reads one object by its name, or by the beginning of its id.
func (r resource) one(ctx context.Context, c *client, name string) (json.RawMessage, error) {
	if r.detail == nil {
		n, l, err := r.find(ctx, c, name)
		if err != nil {
			return nil, err
		}
		return l.raw[n], nil
	}
	if r.ids != nil {
		var err error
		if name, err = r.resolve(ctx, c, name); err != nil {
			return nil, err
		}
	}
	return c.get(ctx, r.detail(name), nil, &item{})
}

// objects are what an argument names, where its form does not say it.
var objects = map[string]string{"MODEL@VERSION": "version", "DATASET#NUMBER": "commit", "ENVIRONMENT/MODEL": "environment of a model", "SIZE": "checkpoint"}

// article is what usage calls an object, in a sentence.
func article(arg string) string {
	if called, ok := objects[arg]; ok {
		arg = called
	}
	arg = strings.ReplaceAll(strings.ToLower(arg), "_", " ")
	if arg != "" && strings.ContainsRune("aeiou", rune(arg[0])) {
		return "an " + arg
	}
	return "a " + arg
}

// group is a noun: a command that only holds verbs.
func group(use, short string, commands ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short}
	cmd.AddCommand(commands...)
	verbs := make([]string, len(commands))
	for i, v := range commands {
		verbs[i] = v.Name()
	}
	cmd.Args = cobra.ArbitraryArgs
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return usagef("%s has no %q: write one of %s", cmd.CommandPath(), args[0], strings.Join(verbs, ", "))
		}
		return cmd.Help()
	}
	return cmd
}

// noun is a group with the list and show commands of a resource, and others.
func (r resource) group(c *client, short string, others ...*cobra.Command) *cobra.Command {
	return group(r.noun, short, append([]*cobra.Command{r.list(c, "list"), r.show(c)}, others...)...)
}

// set adds a parameter that has a value.
func set(q url.Values, name, value string) {
	if value != "" {
		q.Set(name, value)
	}
}

// captured is what a draw wrote.
func captured(draw func(io.Writer) error) ([]byte, error) {
	var b bytes.Buffer
	err := draw(&b)
	return b.Bytes(), err
}
