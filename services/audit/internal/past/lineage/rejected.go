package lineage

import (
	"fmt"
	"strings"

	"github.com/freshet-io/freshet/events"
)

// mostProblems of a revision are told one by one.
const mostProblems = 3

// dataRejected says which rule data broke, where, and what to do.
func dataRejected(p events.DataRejected) string {
	return fmt.Sprintf("data for %s was rejected: %s", p.Dataset, dataReason(p))
}

func dataReason(p events.DataRejected) string {
	switch p.Reason {
	case "unknown_dataset":
		return "no watched repository declares this dataset; declare it in datasets/" + p.Dataset + ".yaml, push, and publish again"
	case "duplicate":
		return "these files are in an earlier commit; nothing is to be done"
	case "empty":
		return "its files have no rows; send files that have"
	case "unreadable":
		return "a file cannot be read in its format" + broken(p.Failures) + "; name the format (csv, jsonl or parquet), or write the file again"
	case "schema":
		return "its columns are not the declared ones" + broken(p.Failures) + "; send these columns, or change the dataset's declaration"
	case "too_many_failures":
		kept := ""
		if p.Quarantine != nil {
			kept = " (they are in quarantine, " + p.Quarantine.Digest + ")"
		}
		return fmt.Sprintf("%s of %s rows broke an expectation%s, more than the dataset allows; correct the rows%s, or change the expectation",
			count(p.Failed), count(p.Rows), broken(p.Failures), kept)
	}
	return strings.ReplaceAll(p.Reason, "_", " ")
}

// broken names rules, with the rows that broke each.
func broken(failures []events.RuleFailure) string {
	parts := make([]string, 0, len(failures))
	for _, f := range failures {
		part := f.Rule
		if f.Rows > 0 {
			part += ", " + count(f.Rows) + " rows"
		}
		parts = append(parts, part)
	}
	if len(parts) == 0 {
		return ""
	}
	return " (" + strings.Join(parts, "; ") + ")"
}

// codeRejected says which rule a revision broke, in which line, and what to do.
func codeRejected(p events.CodeRejected) string {
	return fmt.Sprintf("revision %s of %s was rejected: %s", short(p.Revision), p.Repository, codeReason(p))
}

func codeReason(p events.CodeRejected) string {
	if len(p.Problems) > 0 {
		var parts []string
		for _, one := range p.Problems[:min(len(p.Problems), mostProblems)] {
			parts = append(parts, one.String())
		}
		if more := len(p.Problems) - len(parts); more > 0 {
			parts = append(parts, fmt.Sprintf("and %d more, which freshet validate tells", more))
		}
		return strings.Join(parts, "; ")
	}
	switch p.Reason {
	case "invalid":
		return "a definition in it breaks a rule; freshet validate tells which, and how to correct it"
	case "fetch_failed":
		return "it cannot be fetched; see whether the repository's URL and branch can be read from the suite's machine"
	case "too_large":
		return "it is larger than a revision may be; keep data out of the repository, and publish it"
	case "unsafe_path":
		return "a path in it leads out of the repository; remove the link or the name"
	case "superseded":
		return "a newer revision came before it was read; nothing is to be done"
	}
	return strings.ReplaceAll(p.Reason, "_", " ")
}
