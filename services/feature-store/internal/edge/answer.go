package edge

import (
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/freshet-io/freshet/services/feature-store/internal/online"
)

// epoch is what Feast's server says where it has no time.
const epoch = `"1970-01-01T00:00:00Z"`

// appendAnswer writes an answer as Feast's server does: column by column, join
// keys first, as the caller wrote them.
func appendAnswer(b []byte, a *online.Answer, entities map[string]json.RawMessage, names []string) []byte {
	b = append(b, `{"metadata":{"feature_names":[`...)
	for i, name := range a.JoinKeys {
		b = comma(b, i)
		b = appendText(b, name)
	}
	for i, name := range names {
		b = comma(b, i+len(a.JoinKeys))
		b = appendText(b, name)
	}
	b = append(b, `]},"results":[`...)
	for i, name := range a.JoinKeys {
		b = comma(b, i)
		b = append(b, `{"values":`...)
		b = append(b, entities[name]...)
		b = appendRepeated(append(b, `,"statuses":[`...), `"PRESENT"`, a.Rows)
		b = appendRepeated(append(b, `],"event_timestamps":[`...), epoch, a.Rows)
		b = append(b, `]}`...)
	}
	for i, f := range a.Features {
		b = comma(b, i+len(a.JoinKeys))
		b = appendFeature(b, f)
	}
	return append(b, `]}`...)
}

func appendFeature(b []byte, f online.Values) []byte {
	b = append(b, `{"values":[`...)
	for i, x := range f.Numbers {
		b = comma(b, i)
		if math.IsNaN(x) {
			b = append(b, `null`...)
		} else {
			b = strconv.AppendFloat(b, x, 'g', -1, 64)
		}
	}
	b = append(b, `],"statuses":[`...)
	for i, s := range f.Statuses {
		b = comma(b, i)
		b = append(append(append(b, '"'), s.String()...), '"')
	}
	b = append(b, `],"event_timestamps":[`...)
	for i, t := range f.Newest {
		b = comma(b, i)
		if t == 0 {
			b = append(b, epoch...)
			continue
		}
		b = append(time.UnixMicro(t).UTC().AppendFormat(append(b, '"'), time.RFC3339Nano), '"')
	}
	return append(b, `]}`...)
}

func appendRepeated(b []byte, what string, n int) []byte {
	b = slices.Grow(b, n*(len(what)+1))
	for i := range n {
		b = comma(b, i)
		b = append(b, what...)
	}
	return b
}

func appendText(b []byte, s string) []byte {
	q, err := json.Marshal(s)
	if err != nil {
		return append(b, `""`...)
	}
	return append(b, q...)
}

func comma(b []byte, i int) []byte {
	if i > 0 {
		return append(b, ',')
	}
	return b
}
