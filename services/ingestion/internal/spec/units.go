package spec

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/freshet-io/freshet/events"
	"go.yaml.in/yaml/v4"
)

var (
	durationPart = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?)([a-zA-Zµ]*)`)
	durationUnit = map[string]time.Duration{"ms": time.Millisecond, "s": time.Second, "m": time.Minute, "h": time.Hour, "d": 24 * time.Hour,
		"w": 7 * 24 * time.Hour}
	unitMeant = map[string]string{
		"sec": "s", "secs": "s", "second": "s", "seconds": "s", "min": "m", "mins": "m", "minute": "m", "minutes": "m",
		"hr": "h", "hrs": "h", "hour": "h", "hours": "h", "day": "d", "days": "d", "week": "w", "weeks": "w", "millis": "ms", "milliseconds": "ms",
	}
)

const longest = 100 * 365 * 24 * time.Hour

// duration reads a duration such as 30m, 36h, 7d or 1d12h.
func (v value) duration() (time.Duration, bool) {
	n := v.node()
	bad := func(message, fix string) (time.Duration, bool) {
		v.problem(v.name()+" "+message, fix)
		return 0, false
	}
	s := strings.TrimSpace(n.Value)
	if n.Kind != yaml.ScalarNode || s == "" {
		return bad("is not a duration", "write a number and one of ms, s, m, h, d, w, such as 36h")
	}
	if s == "0" {
		return 0, true
	}
	var total time.Duration
	for rest := s; rest != ""; {
		m := durationPart.FindStringSubmatch(rest)
		if m == nil {
			return bad(fmt.Sprintf("is %q, which is not a duration", s), "write a number and one of ms, s, m, h, d, w, such as 36h")
		}
		number, unit := m[1], m[2]
		if unit == "" {
			if word := unitMeant[strings.ToLower(strings.TrimSpace(rest[len(m[0]):]))]; word != "" {
				return bad(fmt.Sprintf("is %q", s), "write "+number+word)
			}
			return bad(fmt.Sprintf("is %q, which has no unit", s), fmt.Sprintf("write %sh for hours, or another of ms, s, m, h, d, w", number))
		}
		scale, ok := durationUnit[unit]
		if !ok {
			if meant := unitMeant[strings.ToLower(unit)]; meant != "" {
				return bad(fmt.Sprintf("has the unknown unit %q", unit), "write "+number+meant)
			}
			if scale, ok = durationUnit[strings.ToLower(unit)]; ok && scale > 0 {
				return bad(fmt.Sprintf("has the unknown unit %q", unit), "write "+number+strings.ToLower(unit))
			}
			return bad(fmt.Sprintf("has the unknown unit %q", unit), "use one of ms, s, m, h, d, w, such as "+number+"h")
		}
		f, err := strconv.ParseFloat(number, 64)
		if err != nil || f*float64(scale) > float64(longest) {
			return bad(fmt.Sprintf("is %q, longer than 100 years", s), "write a shorter duration")
		}
		total += time.Duration(f * float64(scale))
		rest = rest[len(m[0]):]
	}
	if total > longest {
		return bad(fmt.Sprintf("is %q, longer than 100 years", s), "write a shorter duration")
	}
	return total, true
}

// positive reads a duration above zero.
func (v value) positive() (events.Duration, bool) {
	d, ok := v.duration()
	if ok && d <= 0 {
		v.problem(v.name()+" is 0", "write a duration above 0, such as 1h")
		return 0, false
	}
	return events.Duration(d), ok
}

var (
	sizeShape = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?)\s*([a-zA-Z]*)$`)
	sizeUnit  = map[string]float64{"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
	sizeMeant = map[string]string{"b": "B", "k": "KiB", "kb": "kB", "kib": "KiB", "ki": "KiB", "m": "MiB", "mb": "MB", "mib": "MiB", "mi": "MiB",
		"g": "GiB", "gb": "GB", "gib": "GiB", "gi": "GiB", "t": "TiB", "tb": "TB", "tib": "TiB", "ti": "TiB"}
)

// size reads a number of bytes such as 4GiB.
func (v value) size() (int64, bool) {
	n := v.node()
	m := sizeShape.FindStringSubmatch(strings.TrimSpace(n.Value))
	if n.Kind != yaml.ScalarNode || m == nil {
		v.problem(v.name()+" is not a size", "write a number and one of KiB, MiB, GiB, TiB, such as 4GiB")
		return 0, false
	}
	scale, ok := sizeUnit[m[2]]
	if !ok {
		unit := sizeMeant[strings.ToLower(m[2])]
		if unit == "" {
			unit = "GiB"
		}
		what := fmt.Sprintf("has the unknown unit %q", m[2])
		if m[2] == "" {
			what = "has no unit"
		}
		v.problem(v.name()+" "+what, "write "+m[1]+unit)
		return 0, false
	}
	f, err := strconv.ParseFloat(m[1], 64)
	if err != nil || f*scale > 1<<50 {
		v.problem(v.name()+" is too large", "write a smaller size")
		return 0, false
	}
	return int64(f * scale), true
}

var percentShape = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?)\s*%$`)

// percent reads 5% as 0.05.
func (v value) percent() (float64, bool) {
	n := v.node()
	s := strings.TrimSpace(n.Value)
	if n.Kind == yaml.ScalarNode {
		if m := percentShape.FindStringSubmatch(s); m != nil {
			f, err := strconv.ParseFloat(m[1], 64)
			if err == nil && f <= 100 {
				// Division of the written number gives the nearest float to the share.
				return f / 100, true
			}
			v.problem(fmt.Sprintf("%s is %s; at most 100%% is possible", v.name(), s), "write a share from 0% to 100%")
			return 0, false
		}
	}
	fix := "write a percentage such as 5%"
	if f, err := strconv.ParseFloat(s, 64); err == nil && f >= 0 && f <= 100 {
		if f < 1 {
			f *= 100
		}
		fix = "write " + strconv.FormatFloat(f, 'g', 6, 64) + "%"
	}
	v.problem(v.name()+" is not a percentage", fix)
	return 0, false
}
