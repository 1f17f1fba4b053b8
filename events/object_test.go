package events

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAnObjectNamesItsBytes(t *testing.T) {
	t.Parallel()
	hex := strings.Repeat("ab", 32)
	b, err := json.Marshal(ObjectOf("sha256:"+hex, 7, "text/plain"))
	require.NoError(t, err)
	require.JSONEq(t, `{"digest":"sha256:`+hex+`","uri":"objects:`+hex+`","size":7,"media_type":"text/plain"}`, string(b))
	b, err = json.Marshal(ObjectOf("sha256:"+hex, 7, ""))
	require.NoError(t, err)
	require.NotContains(t, string(b), "media_type")
}
