package suite_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/freshet-io/freshet/cmd/freshet/internal/suite"
	"github.com/freshet-io/freshet/libs/service"
	"github.com/freshet-io/freshet/libs/web"
	"github.com/stretchr/testify/require"
)

// generatedClient is made from contracts/openapi.json by a public generator.
const generatedClient = "../../../../contracts/lint/run"

// A client that a public generator makes of the description works with what is described.
// It is skipped where Node.js or its packages cannot be had, or fails if
// FRESHET_TEST_CLIENT is "required".
func TestAGeneratedClientListsRipples(t *testing.T) {
	t.Parallel()
	if out, err := exec.CommandContext(t.Context(), generatedClient, "install").CombinedOutput(); err != nil {
		if os.Getenv("FRESHET_TEST_CLIENT") == "required" {
			t.Fatalf("the generated client is required (FRESHET_TEST_CLIENT): %s", out)
		}
		t.Skipf("not tried: %s", out)
	}
	s, err := suite.Start(t.Context(), suite.Options{DataDir: dataDir(t), Auth: service.AuthToken, Listen: "127.0.0.1:0",
		Services: []string{"audit", "ingestion", "console"}, Logger: logger(t)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Stop(context.Background())) })
	ask := func(method, path, mediaType, body string, into any) {
		r, err := http.NewRequestWithContext(t.Context(), method, s.URL()+path, strings.NewReader(body))
		require.NoError(t, err)
		r.Header.Set("Content-Type", mediaType)
		res, err := (&http.Client{Transport: web.Bearer{Token: web.Token(s.Token())}}).Do(r)
		require.NoError(t, err)
		answer, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		require.Equal(t, 2, res.StatusCode/100, "%s", answer)
		require.NoError(t, json.Unmarshal(answer, into))
	}
	var file struct{ Digest string }
	ask(http.MethodPut, "/v1/files", "text/csv", "flight_id\n1\n", &file)
	for i := range 3 {
		ask(http.MethodPost, "/v1/arrivals", "application/cloudevents+json", fmt.Sprintf(`{"specversion":"1.0","id":"%d","source":"/example/producer",
			"type":"com.example.arrived","datacontenttype":"application/json",
			"data":{"dataset":"flights","files":[{"uri":"objects:%s","format":"csv","name":"%d"}]}}`, i, file.Digest, i), new(any))
	}
	require.Eventually(t, func() bool {
		var status suite.Status
		ask(http.MethodGet, "/statusz", "", "", &status)
		return status.Settled
	}, time.Minute, 20*time.Millisecond)

	var ripples web.Items[struct {
		ID, Trigger, Subject string
		Events               int64
	}]
	ask(http.MethodGet, "/v1/ripples", "", "", &ripples)
	require.Len(t, ripples.Items, 3)
	var want strings.Builder
	for _, one := range ripples.Items {
		fmt.Fprintf(&want, "%s\t%s\t%s\t%d\n", one.ID, one.Trigger, one.Subject, one.Events)
	}
	listed, said := runClient(t, s.URL(), s.Token())
	require.Equal(t, want.String(), listed, said)
	listed, said = runClient(t, s.URL(), "another")
	require.Empty(t, listed)
	require.Contains(t, said, "Unauthorized: a token is needed")
}

// runClient returns what the generated client wrote.
func runClient(t *testing.T, url, token string) (out, said string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), generatedClient, "client")
	cmd.Env = append(os.Environ(), "FRESHET_URL="+url, "FRESHET_TOKEN="+token)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		require.ErrorAs(t, err, new(*exec.ExitError))
	}
	return stdout.String(), stderr.String()
}
