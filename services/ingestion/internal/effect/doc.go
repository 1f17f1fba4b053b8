// Package effect holds ingestion's slow work: checking the files of an arrival
// against their dataset's spec, and archiving a revision of a repository. Each
// ends by recording one fact that says what was found, whatever was found; only
// broken machinery is an error, and is tried again.
//
// What an effect produces is in the object store before its fact is recorded. An
// effect that runs twice produces the same objects.
package effect

import (
	"context"
	"encoding/json"
	"os"

	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/objects"
)

// put stores bytes and describes them as events do.
func put(ctx context.Context, store *objects.Store, b []byte, media string) (*events.Object, error) {
	ref, err := store.PutBytes(ctx, b)
	if err != nil {
		return nil, err
	}
	return object(ref, media), nil
}

func putJSON(ctx context.Context, store *objects.Store, v any) (*events.Object, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return put(ctx, store, b, "application/json")
}

func putFile(ctx context.Context, store *objects.Store, path, media string) (*events.Object, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	ref, err := store.Put(ctx, f)
	if err != nil {
		return nil, err
	}
	return object(ref, media), nil
}

func object(ref objects.Ref, media string) *events.Object {
	o := events.ObjectOf(ref.Digest, ref.Size, media)
	return &o
}
