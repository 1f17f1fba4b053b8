// Package decide holds what the feature store decides: which versions of feature
// views exist.
package decide

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/services/feature-store/internal/compute"
	"github.com/freshet-io/freshet/services/feature-store/internal/state"
)

// Register adds every decide to the fold.
func Register(f *eventlog.Fold) {
	eventlog.Decide(f, codeCommitted)
}

// codeCommitted declares a new version of each view whose meaning changed.
func codeCommitted(ctx context.Context, r eventlog.Reader, e event.Event, p events.CodeCommitted, _ time.Time) ([]event.Event, error) {
	ns := eventlog.Namespace(e)
	views := slices.Clone(p.Views)
	slices.SortStableFunc(views, func(a, b events.ViewSpec) int { return strings.Compare(a.View, b.View) })
	var d eventlog.Decisions
	for i, spec := range views {
		if i > 0 && views[i-1].View == spec.View {
			continue
		}
		digest, err := Digest(spec)
		if err != nil {
			return nil, eventlog.Invalid(err)
		}
		declared := events.FeatureViewDeclared{View: spec.View, Version: 1, Digest: digest, Spec: spec}
		latest, err := state.FindView(ctx, r, ns, spec.View, 0)
		switch {
		case errors.Is(err, state.ErrUnknown):
		case err != nil:
			return nil, err
		case latest.Digest == digest:
			continue
		default:
			declared.Version = latest.Version + 1
		}
		if _, err := compute.Compile(spec, declared.Version, digest); err != nil {
			declared.Error = limit(err.Error())
		}
		draft, err := events.NewFeatureViewDeclared(ns, spec.View, declared)
		if err != nil {
			return nil, eventlog.Invalid(err)
		}
		d.Add(draft, nil)
	}
	return d.Result()
}

func limit(s string) string { return strings.ToValidUTF8(s[:min(len(s), 4096)], "") }

// Digest identifies what a view computes. Owner and description are not part of it.
func Digest(spec events.ViewSpec) (string, error) {
	spec.Owner, spec.Description = "", ""
	b, err := json.Marshal(spec)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:]), nil
}
