package objects_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/freshet-io/freshet/libs/objects"
)

// Bytes are stored by their digest, and given out by it once they were checked.
func Example() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "objects-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a directory of the example
	store, err := objects.Open(ctx, dir)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer store.Close() //nolint:errcheck // nothing is written any more

	ref, err := store.Put(ctx, strings.NewReader("origin,delay\nORD,17\n"))
	fmt.Println(ref.Digest[:14], ref.Size, err)
	b, err := store.Get(ctx, ref.Digest, 1<<20)
	fmt.Printf("%q %v\n", b, err)
	_, err = store.Get(ctx, ref.Digest, 5)
	fmt.Println(errors.Is(err, objects.ErrTooLarge))
	_, err = store.Get(ctx, "sha256:"+strings.Repeat("0", 64), 5)
	fmt.Println(errors.Is(err, objects.ErrNotFound))
	// Output:
	// sha256:efe87f9 20 <nil>
	// "origin,delay\nORD,17\n" <nil>
	// true
	// true
}
