package testkit

import "os"

// Figure is how much of something a test of a promise does: few in every run of
// the tests, all that was promised where FRESHET_PROMISES is "full".
func Figure(few, all int) int {
	if os.Getenv("FRESHET_PROMISES") == "full" {
		return all
	}
	return few
}
