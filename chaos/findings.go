package chaos

import "fmt"

// Findings are what is not as it must be.
type Findings struct {
	Lost, Doubled, Reordered, Diverged []string
}

func (f *Findings) lost(format string, args ...any) {
	f.Lost = append(f.Lost, fmt.Sprintf(format, args...))
}
func (f *Findings) doubled(format string, args ...any) {
	f.Doubled = append(f.Doubled, fmt.Sprintf(format, args...))
}
func (f *Findings) reordered(format string, args ...any) {
	f.Reordered = append(f.Reordered, fmt.Sprintf(format, args...))
}
func (f *Findings) diverged(format string, args ...any) {
	f.Diverged = append(f.Diverged, fmt.Sprintf(format, args...))
}

// Add adds what another part of a run found.
func (f *Findings) Add(other *Findings) {
	f.Lost, f.Doubled = append(f.Lost, other.Lost...), append(f.Doubled, other.Doubled...)
	f.Reordered, f.Diverged = append(f.Reordered, other.Reordered...), append(f.Diverged, other.Diverged...)
}

// None says whether all is well.
func (f *Findings) None() bool {
	return len(f.Lost)+len(f.Doubled)+len(f.Reordered)+len(f.Diverged) == 0
}

// String is the line that a run ends with.
func (f *Findings) String() string {
	return fmt.Sprintf("lost %d, doubled %d, reordered %d, diverged %d", len(f.Lost), len(f.Doubled), len(f.Reordered), len(f.Diverged))
}
