// Command words refuses words that have a better term: it reads every Go file of
// the repository and compares names and messages with a list.
//
//	go run ./words -root ../..
//
// Names are what Go code declares: packages, files, types, functions, methods,
// fields, parameters, variables and constants, word by word (repairLog has the words
// repair and log). Messages are the string literals of code that is not a test, so the
// texts of errors, log lines, command help and HTTP answers are among them, and the
// keys of log lines and the names of metrics; comments; and the lines of Markdown,
// HTML and JavaScript.
// Generated files and testdata are left out.
//
// The list is .ci/words.txt; its first lines say how it is written. A word that the
// list does not have is never refused.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	root := flag.String("root", ".", "the repository's directory")
	flag.Parse()
	findings, files, err := run(*root)
	if err != nil {
		fmt.Fprintln(os.Stderr, "words:", err)
		os.Exit(2)
	}
	for _, f := range findings {
		fmt.Println(f)
	}
	if len(findings) > 0 {
		fmt.Printf("%d words are refused: use the term after the arrow, or add an exception with its reason to %s\n", len(findings), listFile)
		os.Exit(1)
	}
	fmt.Printf("%d files have no refused word\n", files)
}

// listFile is where the list is, in the repository.
const listFile = ".ci/words.txt"

// run checks a repository.
func run(root string) (findings []finding, files int, err error) {
	text, err := os.ReadFile(filepath.Join(root, listFile))
	if err != nil {
		return nil, 0, err
	}
	l, err := parseList(string(text))
	if err != nil {
		return nil, 0, fmt.Errorf("%s:%w", listFile, err)
	}
	return check(os.DirFS(root), l)
}
