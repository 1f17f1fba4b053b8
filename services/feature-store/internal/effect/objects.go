// Package effect does the feature store's slow work: it computes the rows of
// feature views and builds training sets. Each effect ends with one fact.
package effect

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/duckdb"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/libs/objects"
	"github.com/freshet-io/freshet/libs/parquet"
	"github.com/freshet-io/freshet/services/feature-store/internal/compute"
	"github.com/freshet-io/freshet/services/feature-store/internal/state"
)

// MediaType of Parquet objects.
const MediaType = "application/vnd.apache.parquet"

// Dependencies are what the effects need.
type Dependencies struct {
	State   eventlog.Reader
	Objects *objects.Store
	Engine  *duckdb.Engine
}

func object(ref objects.Ref, mediaType string) events.Object {
	return events.ObjectOf(ref.Digest, ref.Size, mediaType)
}

func (w *Dependencies) putTable(ctx context.Context, t *parquet.Table) (events.Object, error) {
	b, err := parquet.Encode(t)
	if err != nil {
		return events.Object{}, err
	}
	ref, err := w.Objects.PutBytes(ctx, b)
	return object(ref, MediaType), err
}

// file is a local file with the object's bytes.
func (w *Dependencies) file(ctx context.Context, digest string) (string, error) {
	path, err := w.Objects.File(ctx, digest)
	if err != nil {
		return "", fmt.Errorf("object %s: %w", digest, err)
	}
	return path, nil
}

// rowsOf computes the rows of a view for the files that a commit added.
func (w *Dependencies) rowsOf(ctx context.Context, v *compute.View, c *state.Commit) (*parquet.Table, error) {
	var all *parquet.Table
	for _, f := range c.Files {
		path, err := w.file(ctx, f.Object.Digest)
		if err != nil {
			return nil, err
		}
		t, err := compute.RowsOfFile(ctx, w.Engine, path, v, &c.Spec)
		if err != nil {
			return nil, err
		}
		if all == nil {
			all = t
		} else if err := all.Append(t); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// usersFault reports whether trying again gives the same error.
func usersFault(err error) bool {
	var e *duckdb.Error
	if errors.As(err, &e) {
		return e.UsersFault()
	}
	var columns *parquet.UnsupportedError
	return errors.As(err, &columns)
}

func limit(s string) string { return strings.ToValidUTF8(s[:min(len(s), 4096)], "") }
