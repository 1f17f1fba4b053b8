package console_test

import (
	"context"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/stretchr/testify/require"
)

// browser starts Debian's Chromium without a screen. Where there is none the test is
// skipped, or fails if FRESHET_TEST_BROWSER is "required".
func browser(t *testing.T) context.Context {
	t.Helper()
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "chrome"} {
		if p, err := exec.LookPath(name); err == nil {
			path = p
			break
		}
	}
	if path == "" {
		if os.Getenv("FRESHET_TEST_BROWSER") == "required" {
			t.Fatal("Chromium is required (FRESHET_TEST_BROWSER), and is not on this machine")
		}
		t.Skip("no Chromium on this machine; apt-get install chromium")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox,
		chromedp.DisableGPU, chromedp.Flag("disable-background-networking", true), chromedp.WindowSize(1440, 900))
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	require.NoError(t, chromedp.Do(ctx, chromedp.Navigate("about:blank"))) // the browser lives as long as this context
	ctx, cancel = context.WithTimeout(ctx, 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// A person sees a version waiting, writes why, approves by the keyboard, and watches
// what it leads to appear without touching anything.
func TestAPersonApprovesInABrowser(t *testing.T) {
	t.Parallel()
	ctx := browser(t)
	b := setup(t)
	arrived := b.arrive()
	committed := b.commit(b.check(arrived))
	b.register(committed, 2)
	asked := b.ask(committed, 2)
	b.Settle(t.Context())

	require.NoError(t, chromedp.Do(ctx,
		chromedp.Navigate(b.URL+"/"),
		chromedp.WaitVisible(chromedp.CSS(`#live.on`)),
		chromedp.WaitVisible(chromedp.CSS(`svg .node.wait[data-event="`+asked.ID()+`"]`)),
		chromedp.SendKeys(chromedp.CSS(`article input[name=note]`), "rain matters"),
		chromedp.SendKeys(chromedp.CSS(`article input[name=note]`), kb.Tab), // to the first button
		chromedp.KeyEvent(kb.Enter),
	))
	given := b.AwaitType(events.TypeApprovalGiven, 1)
	require.Equal(t, asked.ID(), eventlog.Causation(given))

	require.NoError(t, chromedp.Do(ctx, chromedp.WaitVisible(chromedp.CSS(`#ripples li[data-outcome=waiting]`))), "until the registry decides")

	started := b.start(b.approve(given, 2), "r1", 2)
	b.champion(b.complete(started, "r1", 2), 2, nil)
	require.NoError(t, chromedp.Do(ctx,
		chromedp.WaitNotVisible(chromedp.CSS(`#approvals`)),
		chromedp.WaitVisible(chromedp.CSS(`#ripples li[data-outcome=serving]`)),
		chromedp.WaitVisible(chromedp.CSS(`#champions strong`)),
		chromedp.WaitVisible(chromedp.CSS(`svg .node[data-event="`+given.ID()+`"]`)),
		chromedp.Focus(chromedp.CSS(`svg .node[data-event="`+given.ID()+`"]`)),
		chromedp.KeyEvent(kb.Enter),
		chromedp.WaitVisible(chromedp.CSS(`#detail`)),
	))
	detail, err := chromedp.Run(ctx, chromedp.Text(chromedp.CSS(`#detail`)))
	require.NoError(t, err)
	require.Contains(t, detail, "approval given")
	require.Contains(t, detail, "operator")
	if path := os.Getenv("FRESHET_TEST_SCREENSHOT"); path != "" {
		png, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(path, png, 0o600))
	}
}
