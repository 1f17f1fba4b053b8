// Package domain holds what ingestion decides by, without any machinery: where an
// arrival's bytes may come from, how a commit of data is named, which Git
// addresses are safe to hand to git, and when a commit is rejected.
package domain
