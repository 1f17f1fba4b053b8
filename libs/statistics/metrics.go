package statistics

import (
	"math"
	"slices"
)

// AUC is the area under the ROC curve: the share of (positive, negative) pairs
// that the scores order rightly, ties counting one half (the Mann-Whitney
// statistic; scikit-learn's roc_auc_score). NaN when a class is missing, the
// lengths differ or a score is NaN.
func AUC(labels []bool, scores []float64) float64 {
	if len(labels) != len(scores) {
		return math.NaN()
	}
	// The rank sum needs only the order of scores, so the label rides along.
	type scored struct {
		score    float64
		positive bool
	}
	rows := make([]scored, len(scores))
	positives := 0
	for i, s := range scores {
		if math.IsNaN(s) {
			return math.NaN()
		}
		rows[i] = scored{s, labels[i]}
		if labels[i] {
			positives++
		}
	}
	negatives := len(rows) - positives
	if positives == 0 || negatives == 0 {
		return math.NaN()
	}
	slices.SortFunc(rows, func(a, b scored) int {
		switch {
		case a.score < b.score:
			return -1
		case a.score > b.score:
			return 1
		default:
			return 0
		}
	})
	var rankSum float64
	for i := 0; i < len(rows); {
		j, inTie := i, 0
		for ; j < len(rows) && rows[j].score == rows[i].score; j++ {
			if rows[j].positive {
				inTie++
			}
		}
		rankSum += float64(inTie) * (float64(i+1) + float64(j)) / 2
		i = j
	}
	p, n := float64(positives), float64(negatives)
	return (rankSum - p*(p+1)/2) / (p * n)
}

// epsilon is where probabilities are clipped, as scikit-learn does for float64:
// the machine epsilon.
const epsilon = 0x1p-52

// LogLoss is the mean negative log likelihood of the labels, probabilities
// clipped to [eps, 1-eps] (scikit-learn's log_loss).
func LogLoss(labels []bool, probabilities []float64) float64 {
	if len(labels) != len(probabilities) || len(labels) == 0 {
		return math.NaN()
	}
	var sum float64
	for i, p := range probabilities {
		p = math.Min(math.Max(p, epsilon), 1-epsilon)
		if labels[i] {
			sum -= math.Log(p)
		} else {
			sum -= math.Log1p(-p)
		}
	}
	return sum / float64(len(labels))
}

// Brier is the mean squared error of the probabilities (brier_score_loss).
func Brier(labels []bool, probabilities []float64) float64 {
	return meanOf(len(labels), len(probabilities), func(i int) float64 {
		d := probabilities[i] - indicator(labels[i])
		return d * d
	})
}

// Accuracy is the share of rows whose probability is on the label's side of 0.5;
// exactly 0.5 counts as negative, as a linear classifier's decision of zero does.
func Accuracy(labels []bool, probabilities []float64) float64 {
	return meanOf(len(labels), len(probabilities), func(i int) float64 {
		return indicator(labels[i] == (probabilities[i] > 0.5))
	})
}

// RMSE is the root of the mean squared error.
func RMSE(actual, predicted []float64) float64 {
	return math.Sqrt(meanOf(len(actual), len(predicted), func(i int) float64 {
		d := predicted[i] - actual[i]
		return d * d
	}))
}

// MAE is the mean absolute error.
func MAE(actual, predicted []float64) float64 {
	return meanOf(len(actual), len(predicted), func(i int) float64 {
		return math.Abs(predicted[i] - actual[i])
	})
}

// R2 is the coefficient of determination (r2_score): 1 less the ratio of the
// squared error to that of always saying the mean. NaN for constant labels.
func R2(actual, predicted []float64) float64 {
	mean := meanOf(len(actual), len(predicted), func(i int) float64 { return actual[i] })
	var residual, total float64
	for i := range actual {
		if i >= len(predicted) {
			return math.NaN()
		}
		r, t := actual[i]-predicted[i], actual[i]-mean
		residual += r * r
		total += t * t
	}
	if total == 0 {
		return math.NaN()
	}
	return 1 - residual/total
}

func meanOf(n, m int, term func(int) float64) float64 {
	if n == 0 || n != m {
		return math.NaN()
	}
	var sum float64
	for i := range n {
		sum += term(i)
	}
	return sum / float64(n)
}

func indicator(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
