package edge

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/freshet-io/freshet/libs/web"
	"github.com/freshet-io/freshet/services/deployment/internal/record"
	"github.com/freshet-io/freshet/services/deployment/internal/serving"
	"github.com/freshet-io/freshet/services/deployment/internal/wire"
)

// versionOutput says which version answered each row.
const versionOutput = "model_version"

const headerLength = "Inference-Header-Content-Length"

// statuses of failures; the rest are the server's.
var statuses = map[string]int{
	record.InvalidRequest:      http.StatusBadRequest,
	record.FeaturesUnavailable: http.StatusServiceUnavailable,
	record.FeatureMissing:      http.StatusUnprocessableEntity,
	record.ModelFailed:         http.StatusInternalServerError,
	record.Cancelled:           499,
}

func (e *Edge) infer(w http.ResponseWriter, r *http.Request) {
	env, only := e.find(w, r)
	if env == nil {
		return
	}
	body, err := web.Body(w, r, e.settings.BodyLimit)
	if err != nil {
		status := http.StatusBadRequest
		if errors.Is(err, web.ErrTooLarge) {
			status = http.StatusRequestEntityTooLarge
		}
		fail(w, status, err.Error())
		return
	}
	began := time.Now()
	rec := record.Record{Model: env.Model, Environment: env.Environment, Time: e.clock.Now(),
		Rollout: env.Rollout, Step: env.Step, Versions: []int64{env.Champion.Number}}
	request, err := wire.Parse(body, r.Header.Get(headerLength), e.settings.MostRows)
	var p *serving.Prediction
	var failure *serving.Failure
	if err != nil {
		failure = &serving.Failure{Code: record.InvalidRequest, Detail: err.Error()}
		p = &serving.Prediction{Versions: rec.Versions}
	} else {
		rec.Request = cut(request.ID)
		if failure = checkOutputs(request, env, only); failure == nil {
			p, failure = env.Predict(r.Context(), e.features, request, only)
		} else {
			p = &serving.Prediction{Versions: rec.Versions}
		}
	}
	var answer []byte
	var header int
	if failure == nil {
		response := respond(r.PathValue("model"), request, p)
		if answer, header, err = response.Append(make([]byte, 0, 256+40*p.Rows)); err != nil {
			failure = &serving.Failure{Code: record.ModelFailed, Detail: err.Error()}
		}
	}
	took := time.Since(began)
	rec.Rows, rec.Keys, rec.Key, rec.Versions, rec.LatencyMS = p.Rows, p.Keys, p.KeyName, p.Versions, float64(took.Microseconds())/1000
	outcome := "ok"
	if failure != nil {
		outcome = failure.Code
		rec.Error, rec.Detail = failure.Code, cut(failure.Detail)
	} else {
		rec.Features, rec.Predictions = p.Features, p.Outputs
	}
	e.requests.WithLabelValues(env.Model, env.Environment, outcome).Observe(took.Seconds())
	if err := e.note(r.Context(), env.Namespace, rec, p); err != nil {
		fail(w, http.StatusServiceUnavailable, err.Error())
		return
	}
	if failure != nil {
		fail(w, statuses[failure.Code], failure.Detail)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if header > 0 {
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Header().Set(headerLength, strconv.Itoa(header))
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(answer)))
	_, _ = w.Write(answer) // the caller is gone if this fails
}

// note queues the request's record, and one for what a candidate failed at.
func (e *Edge) note(ctx context.Context, namespace string, rec record.Record, p *serving.Prediction) error {
	// A caller that went away is recorded all the same.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), e.settings.RecordWait)
	defer cancel()
	if rec.Rows > 0 || rec.Error != "" {
		if err := e.records.Offer(ctx, namespace, rec); err != nil {
			return err
		}
	}
	if p.Spared == nil {
		return nil
	}
	lost := rec
	lost.Features, lost.Predictions = nil, nil
	lost.Rows, lost.Keys, lost.Versions = len(p.Spared.Keys), p.Spared.Keys, []int64{p.Spared.Version}
	lost.Error, lost.Detail = p.Spared.Failure.Code, cut(p.Spared.Failure.Detail)
	return e.records.Offer(ctx, namespace, lost)
}

// cut keeps texts from outside within what a record may carry.
func cut(s string) string {
	if len(s) > 1024 {
		s = s[:1024]
	}
	return s
}

func checkOutputs(r *wire.Request, env *serving.Environment, only *serving.Version) *serving.Failure {
	v := env.Champion
	if only != nil {
		v = only
	}
	for _, o := range r.Outputs {
		if o.Name != versionOutput && o.Name != v.Prediction[0].Name {
			return &serving.Failure{Code: record.InvalidRequest, Detail: "there is no output " + strconv.Quote(o.Name) +
				"; there are " + v.Prediction[0].Name + ", " + versionOutput}
		}
	}
	return nil
}

// respond makes the answer: the prediction and the version of each row.
func respond(model string, r *wire.Request, p *serving.Prediction) wire.Response {
	response := wire.Response{ModelName: model, ID: r.ID}
	if len(p.Versions) == 1 {
		response.ModelVersion = strconv.FormatInt(p.Versions[0], 10)
	}
	shape := []int64{int64(p.Rows)}
	for _, o := range p.Outputs {
		if wanted, binary := r.Wants(o.Name); wanted {
			response.Outputs = append(response.Outputs, wire.Tensor{Name: o.Name, Datatype: "FP64", Shape: shape, Floats: o.Values, Binary: binary})
		}
	}
	if wanted, binary := r.Wants(versionOutput); wanted {
		of := p.Versions
		if len(of) == 1 && p.Rows != 1 {
			of = make([]int64, p.Rows)
			for i := range of {
				of[i] = p.Versions[0]
			}
		}
		response.Outputs = append(response.Outputs, wire.Tensor{Name: versionOutput, Datatype: "INT64", Shape: shape, Ints: of, Binary: binary})
	}
	return response
}
