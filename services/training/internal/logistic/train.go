package logistic

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/freshet-io/freshet/libs/onnx"
	"github.com/freshet-io/freshet/libs/parquet"
	"github.com/freshet-io/freshet/libs/statistics"
	"github.com/freshet-io/freshet/services/training/internal/job"
)

// Name is what freshet.yaml calls this trainer.
const Name = "logistic-regression"

// inputName is the ONNX graph's one input.
const inputName = "features"

// Train does a job: it fits the train split, says on the validation split how
// well, and leaves the model and its metrics. Parameter: l2 (default 0.01).
func Train(m *job.Manifest, out io.Writer) error {
	if m.Task != "binary-classification" {
		return fmt.Errorf("%s does binary classification, not %s", Name, m.Task)
	}
	l2, err := number(m.Params, "l2", 0.01)
	if err != nil {
		return err
	}
	for name := range m.Params {
		if name != "l2" {
			return fmt.Errorf("unknown parameter %q; %s takes l2", name, Name)
		}
	}
	columns, labels, err := load(m, "train")
	if err != nil {
		return err
	}
	model, err := Fit(columns, labels, l2)
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintf(out, "%s: %d rows, %d features, l2 %g: converged in %d iterations\n", Name, len(labels), len(columns), l2, model.Iterations)
	for j, c := range m.Columns {
		_, _ = fmt.Fprintf(out, "  %-40s weight %+.6f (mean %.6g, scale %.6g)\n", c, model.Weights[j], model.Mean[j], model.Scale[j])
	}
	_, _ = fmt.Fprintf(out, "  %-40s        %+.6f\n", "bias", model.Bias)
	metrics := map[string]float64{"iterations": float64(model.Iterations)}
	if err := model.validate(m, metrics); err != nil {
		return err
	}
	graph, err := onnx.Logistic(model.Mean, model.Scale, model.Weights, model.Bias, inputName, m.Columns)
	if err != nil {
		return err
	}
	claimed, err := json.Marshal(metrics)
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(m.Output, job.ModelFile), graph, 0o600),
		os.WriteFile(filepath.Join(m.Output, job.MetricsFile), claimed, 0o600))
}

// validate adds metrics over the validation split, where there is one with rows of both classes.
func (m *Model) validate(manifest *job.Manifest, metrics map[string]float64) error {
	if in := manifest.Split("validation"); in == nil || in.Rows == 0 {
		return nil
	}
	columns, labels, err := load(manifest, "validation")
	if err != nil {
		return err
	}
	truth, scores := make([]bool, len(labels)), make([]float64, len(labels))
	for i, y := range labels {
		z := m.Bias
		for j, c := range columns {
			z += m.Weights[j] * (c[i] - m.Mean[j]) / m.Scale[j]
		}
		truth[i], scores[i] = y == 1, sigmoid(z)
	}
	for name, v := range map[string]float64{"validation_auc": statistics.AUC(truth, scores), "validation_log_loss": statistics.LogLoss(truth, scores)} {
		if v == v { // a class may be missing
			metrics[name] = v
		}
	}
	return nil
}

func load(m *job.Manifest, split string) (columns [][]float64, labels []float64, err error) {
	in := m.Split(split)
	if in == nil {
		return nil, nil, fmt.Errorf("the job has no %s split", split)
	}
	columns = make([][]float64, len(m.Columns))
	for _, f := range in.Files {
		t, err := parquet.Read(f.Path, append([]string{m.Label}, m.Columns...)...)
		if err != nil {
			return nil, nil, err
		}
		if labels, err = appendNumbers(labels, &t.Columns[0]); err != nil {
			return nil, nil, err
		}
		for j := range columns {
			if columns[j], err = appendNumbers(columns[j], &t.Columns[j+1]); err != nil {
				return nil, nil, err
			}
		}
	}
	return columns, labels, nil
}

func appendNumbers(to []float64, c *parquet.Column) ([]float64, error) {
	if c.Kind == parquet.String {
		return nil, fmt.Errorf("column %q holds text; features and labels are numbers", c.Name)
	}
	if to == nil && c.Kind == parquet.Float && c.Valid == nil {
		return c.Floats, nil
	}
	for i := range c.Len() {
		to = append(to, c.Number(i))
	}
	return to, nil
}

func number(params map[string]any, name string, otherwise float64) (float64, error) {
	switch v := params[name].(type) {
	case nil:
		return otherwise, nil
	case float64:
		return v, nil
	default:
		return 0, fmt.Errorf("parameter %s is %v; a number is wanted", name, v)
	}
}
