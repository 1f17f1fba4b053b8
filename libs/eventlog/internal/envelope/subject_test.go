package envelope

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestNoNameBecomesMoreThanAToken(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"flights": "flights", "*": "=2A", ">": "=3E", "a.b": "a=2Eb", "a b": "a=20b", "": "=", "=": "=3D",
		"$JS.API": "=24JS=2EAPI", "é": "=C3=A9", "a\r\nb": "a=0D=0Ab", "feature-store": "feature-store",
	} {
		require.Equal(t, want, Token(name), name)
	}
	e := Draft("adder", "added", "default", "x", []byte("{}"))
	e.SetExtension(ExtNamespace, strings.Repeat("x", MaxToken+1))
	_, err := Subject(e)
	require.Error(t, err)
	rapid.Check(t, func(r *rapid.T) {
		a, b := rapid.String().Draw(r, "a"), rapid.String().Draw(r, "b")
		require.NotContains(t, Token(a), ".")
		require.NotContains(t, Token(a), "*")
		require.NotContains(t, Token(a), ">")
		require.Equal(t, a == b, Token(a) == Token(b))
	})
}

func TestKeysDoNotRunTogether(t *testing.T) {
	t.Parallel()
	require.NotEqual(t, FactID("a", "n", "x/y"), FactID("a", "n", "x", "y"))
	require.NotEqual(t, FactID("a", "n", "x"), FactID("a", "m", "x"))
	require.NotEqual(t, FactID("a", "n", "x"), FactID("b", "n", "x"))
	require.Equal(t, EffectID("c", "k", 1), EffectID("c", "k", 1))
	require.NotEqual(t, EffectID("c", "k", 1), EffectID("c", "k", 0))
}
