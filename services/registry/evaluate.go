package registry

import (
	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/services/registry/internal/gate"
)

// Evaluate evaluates a measured candidate's gates on its recorded metrics, as the
// service did when it decided: whoever holds the event can decide it again.
func Evaluate(p events.CandidateMeasured) (results []events.GateResult, passed bool, err error) {
	gates, err := gate.New()
	if err != nil {
		return nil, false, err
	}
	results, passed = gates.Evaluate(p.Gates, gate.MetricsOf(p))
	return results, passed, nil
}
