package suite_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/freshet-io/freshet/cmd/freshet/internal/suite"
	"github.com/freshet-io/freshet/libs/service"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.yaml.in/yaml/v4"
)

// Not parallel: it runs while no other test of this package does.
func TestPromise12AStoppedSuiteLeavesNoGoroutine(t *testing.T) {
	before := goleak.IgnoreCurrent()
	s, err := suite.Start(context.Background(), suite.Options{
		DataDir: dataDir(t), Auth: service.AuthNone, Listen: "127.0.0.1:0", Logger: slog.New(slog.DiscardHandler),
	})
	require.NoError(t, err)
	res, err := http.Get(s.URL() + "/readyz")
	require.NoError(t, err)
	_, err = io.Copy(io.Discard, res.Body)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	require.NoError(t, s.Stop(context.Background()))
	http.DefaultClient.CloseIdleConnections()
	goleak.VerifyNone(t, before)
}

var (
	metricName = regexp.MustCompile(`\bfreshet_[a-z0-9_]+\b`)
	sample     = regexp.MustCompile(`(?m)^[a-z]`)
	trouble    = regexp.MustCompile(`(?m)^# HELP (freshet_\S+) 1 (?:while|where) `)
)

// mostSamples is what a suite may cost whoever stores its metrics.
const mostSamples = 3000

// Every alarm depends on a metric that a suite serves, and is explained. There are not
// more metrics than one wants to store.
func TestAlarmsNameMetricsThatExist(t *testing.T) {
	t.Parallel()
	root := filepath.Join("..", "..", "..", "..")
	raw, err := os.ReadFile(filepath.Join(root, "deploy", "prometheus", "freshet.rules.yaml"))
	require.NoError(t, err)
	guide, err := os.ReadFile(filepath.Join(root, "docs", "operations", "README.md"))
	require.NoError(t, err)
	var rules struct {
		Groups []struct {
			Name  string
			Rules []struct {
				Alert, Expr, For    string
				Labels, Annotations map[string]string
			}
		}
	}
	require.NoError(t, yaml.Unmarshal(raw, &rules))
	s := start(t, dataDir(t))
	code, metrics := get(t, s.URL()+"/metrics")
	require.Equal(t, http.StatusOK, code)
	require.LessOrEqual(t, len(sample.FindAllString(metrics, -1)), mostSamples, "samples at /metrics of an idle suite")
	named, exprs := 0, ""
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			require.NotEmpty(t, r.Labels["severity"], r.Alert)
			require.NotEmpty(t, r.Annotations["summary"], r.Alert)
			exprs += r.Expr + "\n"
			require.Contains(t, string(guide), "`"+r.Alert+"`", "an alarm without an explanation")
			for _, name := range metricName.FindAllString(r.Expr, -1) {
				named++
				require.True(t, strings.Contains(metrics, "\n"+name+"{") || strings.Contains(metrics, "\n"+name+" "), "%s rests on %s, which is not served", r.Alert, name)
			}
		}
	}
	require.Greater(t, named, 10)
	// A metric that is 1 while something is wrong is there for an alarm.
	for _, m := range trouble.FindAllStringSubmatch(metrics, -1) {
		require.Contains(t, exprs, m[1], "no alarm rests on it")
	}
	require.NoError(t, s.Stop(context.Background()))
}
