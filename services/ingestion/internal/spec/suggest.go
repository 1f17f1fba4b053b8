package spec

import "strings"

// synonyms are words that people bring from elsewhere.
var synonyms = map[string]string{
	"int": "int64", "integer": "int64", "bigint": "int64", "long": "int64", "int32": "int64",
	"double": "float", "float64": "float", "float32": "float", "number": "float", "real": "float", "decimal": "float",
	"str": "string", "text": "string", "varchar": "string", "category": "string",
	"boolean": "bool", "datetime": "timestamp", "date": "timestamp", "time": "timestamp",
	"classification": "binary-classification", "binary": "binary-classification", "classifier": "binary-classification",
	"name": "model", "logloss": "log_loss", "roc_auc": "auc", "cron": "schedule",
	"manual": "approver", "person": "approver", "human": "approver", "automatic": "auto", "yes": "auto", "true": "auto",
	"drop": "quarantine", "reject": "quarantine", "ignore": "keep", "logistic_regression": "logistic-regression", "logistic": "logistic-regression",
	"target": "label", "timestamp_column": "time", "primary_key": "keys", "entities": "entity", "fill": "missing", "default": "missing",
}

// nearest is the allowed word that was most likely meant, or nothing.
func nearest(word string, allowed []string) string {
	lower := strings.ToLower(word)
	for _, a := range allowed {
		if strings.ReplaceAll(lower, "-", "_") == strings.ReplaceAll(a, "-", "_") {
			return a
		}
	}
	if s, ok := synonyms[lower]; ok && contains(allowed, s) {
		return s
	}
	best, at := "", 3
	if len(word) < 5 {
		at = 2
	}
	for _, a := range allowed {
		if d := distance(lower, a); d < at || d == at && best == "" && len(a) > 6 {
			best, at = a, d
		}
	}
	if best == "" {
		best = beginsAlike(lower, allowed)
	}
	return best
}

// beginsAlike is the one allowed word that the word begins, or begins as.
func beginsAlike(word string, allowed []string) string {
	found := ""
	for _, a := range allowed {
		n := 0
		for n < len(a) && n < len(word) && a[n] == word[n] {
			n++
		}
		if n == len(word) && n >= 3 || n >= 5 {
			if found != "" {
				return ""
			}
			found = a
		}
	}
	return found
}

// distance is the number of edits, a swap of neighbours counting as one.
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	prev2, prev, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(prev[j]+1, row[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], prev2[j-2]+1)
			}
		}
		prev2, prev, row = prev, row, prev2
	}
	return prev[len(b)]
}
