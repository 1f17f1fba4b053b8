package serving

import (
	"fmt"
	"strings"
	"testing"

	"github.com/freshet-io/freshet/services/deployment/internal/features"
	"github.com/freshet-io/freshet/services/deployment/internal/wire"
	"github.com/stretchr/testify/require"
)

// BenchmarkPredict is a request from its bytes to its scores, without HTTP: with
// the features given; with a split of traffic and without.
func BenchmarkPredict(b *testing.B) {
	share := column("late_share", "origin_delays", "late_share", &fifth)
	one := version(b, 1, 0, share, column("log_distance", "departure", "log_distance", nil))
	two := version(b, 2, 0, share, column("log_distance", "departure", "log_distance", nil))
	whole, split := environment(b, one, nil, 0), environment(b, one, two, 10)
	server := features.New("http://127.0.0.1:1", "", 1) // is never asked: the features are given
	for _, rows := range []int{1, 700} {
		var ids, shares, distances []string
		for i := range rows {
			ids, shares, distances = append(ids, fmt.Sprintf("%q", fmt.Sprint("flight-", i))), append(shares, "0.25"), append(distances, "6.5")
		}
		tensor := func(name, datatype string, data []string) string {
			return fmt.Sprintf(`{"name":%q,"shape":[%d],"datatype":%q,"data":[%s]}`, name, rows, datatype, strings.Join(data, ","))
		}
		body := []byte(`{"inputs":[` + tensor("flight_id", "BYTES", ids) + "," + tensor("late_share", "FP64", shares) + "," + tensor("log_distance", "FP64",
			distances) + `]}`)
		for name, e := range map[string]*Environment{"whole": whole, "split": split} {
			b.Run(fmt.Sprintf("rows=%d/%s", rows, name), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					r, err := wire.Parse(body, "", 10_000)
					require.NoError(b, err)
					p, failure := e.Predict(b.Context(), server, r, nil)
					require.Nil(b, failure)
					require.Len(b, p.Keys, rows)
				}
			})
		}
	}
}
