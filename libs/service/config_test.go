package service_test

import (
	"errors"
	"flag"
	"io"
	"testing"
	"time"

	"github.com/freshet-io/freshet/libs/service"
	"github.com/stretchr/testify/require"
)

type config struct {
	Name   string        `env:"FRESHET_T_NAME" help:"a name"`
	Wait   time.Duration `env:"FRESHET_T_WAIT"`
	Hosts  []string      `env:"FRESHET_T_HOSTS"`
	Limits struct {
		Rows  int64   `env:"FRESHET_T_ROWS"`
		Share float64 `env:"FRESHET_T_SHARE"`
		On    bool    `env:"FRESHET_T_ON"`
	}
	untouched string
}

func lookup(env map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		v, ok := env[name]
		return v, ok
	}
}

func TestFlagsStandOverTheEnvironmentOverDefaults(t *testing.T) {
	t.Parallel()
	c := config{Name: "default", Wait: time.Second, untouched: "as it was"}
	c.Limits.Rows = 7
	flags := flag.NewFlagSet("t", flag.ContinueOnError)
	require.NoError(t, service.Configure(flags, lookup(map[string]string{
		"FRESHET_T_NAME": "environment", "FRESHET_T_WAIT": "5m", "FRESHET_T_HOSTS": "a, b,", "FRESHET_T_ON": "true", "FRESHET_T_SHARE": "0.5",
	}), &c))
	require.NoError(t, flags.Parse([]string{"--t-name", "flag", "--t-on=false"}))
	require.Equal(t, "flag", c.Name)
	require.Equal(t, 5*time.Minute, c.Wait)
	require.Equal(t, []string{"a", "b"}, c.Hosts)
	require.EqualValues(t, 7, c.Limits.Rows)
	require.InDelta(t, 0.5, c.Limits.Share, 0)
	require.False(t, c.Limits.On)
	require.Equal(t, "as it was", c.untouched)
}

func TestEveryMistakeIsReported(t *testing.T) {
	t.Parallel()
	var c config
	flags := flag.NewFlagSet("t", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	err := service.Configure(flags, lookup(map[string]string{"FRESHET_T_WAIT": "soon", "FRESHET_T_ROWS": "many", "FRESHET_T_ON": "perhaps"}), &c)
	for _, want := range []string{`FRESHET_T_WAIT="soon": use a duration`, `FRESHET_T_ROWS="many": use a whole number`,
		`FRESHET_T_ON="perhaps": use true or false`} {
		require.ErrorContains(t, err, want)
	}
	require.Error(t, service.Configure(flags, lookup(nil), c), "not a pointer")

	err = service.Settings{Auth: service.AuthToken}.Validate()
	for _, want := range []string{"FRESHET_POSTGRES_URL", "FRESHET_NATS_URL", "FRESHET_KAFKA", "FRESHET_OBJECTS", "FRESHET_DATA_DIR", "FRESHET_TOKEN"} {
		require.ErrorContains(t, err, want)
	}
	var joined interface{ Unwrap() []error }
	require.True(t, errors.As(err, &joined))
	require.Len(t, joined.Unwrap(), 6)
}
