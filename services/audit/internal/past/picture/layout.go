package picture

import (
	"fmt"
	"slices"
	"strings"
)

const (
	mostAcross = 5 // boxes in one layer
	sweeps     = 4
)

// A node is a box in the layout, or the place where a long line passes a layer.
type node struct {
	layer, width int
	above, below []int
	x, y         int
	centre       float64
}

// A path is a line through the nodes that it passes.
type path struct {
	nodes  []int
	layout *layout
	faint  bool
}

type layout struct {
	nodes  []node
	layers [][]int
	paths  []path
}

// newLayout gives every box a layer below everything that is above it, leaves out lines
// that say nothing new, and makes room for those that pass a layer.
func newLayout(boxes []Box, lines []Line) *layout {
	l := &layout{nodes: make([]node, len(boxes))}
	index := make(map[string]int, len(boxes))
	for i, b := range boxes {
		index[b.ID] = i
		l.nodes[i].width = boxWidth
	}
	type pair struct{ above, below int }
	faint := map[pair]bool{}
	below := make([][]int, len(boxes))
	for _, line := range lines {
		a, ok := index[line.Above]
		b, there := index[line.Below]
		if !ok || !there || a >= b {
			continue
		}
		p := pair{a, b}
		if _, twice := faint[p]; !twice {
			below[a] = append(below[a], b)
			faint[p] = line.Faint
		}
		faint[p] = faint[p] && line.Faint
	}
	reduce(below)
	l.layer(below)
	for a := range below {
		for _, b := range below[a] {
			l.connect(a, b, faint[pair{a, b}])
		}
	}
	return l
}

// reduce leaves out a line from one box to another that can be reached from it by others.
func reduce(below [][]int) {
	words := (len(below) + 63) / 64
	reach := make([][]uint64, len(below))
	for a := len(below) - 1; a >= 0; a-- {
		slices.Sort(below[a])
		reach[a] = make([]uint64, words)
		kept := below[a][:0]
		for _, b := range below[a] { // in order: what is nearest comes first
			if reach[a][b/64]&(1<<(b%64)) != 0 {
				continue
			}
			kept = append(kept, b)
			reach[a][b/64] |= 1 << (b % 64)
			for i := range words {
				reach[a][i] |= reach[b][i]
			}
		}
		below[a] = kept
	}
}

// layer puts boxes into layers that are not wider than a page.
func (l *layout) layer(below [][]int) {
	for a := range below {
		for len(l.layers) > l.nodes[a].layer && len(l.layers[l.nodes[a].layer]) >= mostAcross {
			l.nodes[a].layer++
		}
		for len(l.layers) <= l.nodes[a].layer {
			l.layers = append(l.layers, nil)
		}
		l.layers[l.nodes[a].layer] = append(l.layers[l.nodes[a].layer], a)
		for _, b := range below[a] {
			l.nodes[b].layer = max(l.nodes[b].layer, l.nodes[a].layer+1)
		}
	}
}

func (l *layout) connect(a, b int, faint bool) {
	p := path{nodes: []int{a}, layout: l, faint: faint}
	last := a
	for layer := l.nodes[a].layer + 1; layer < l.nodes[b].layer; layer++ {
		l.nodes = append(l.nodes, node{layer: layer, width: column})
		n := len(l.nodes) - 1
		l.layers[layer] = append(l.layers[layer], n)
		l.join(last, n)
		p.nodes = append(p.nodes, n)
		last = n
	}
	l.join(last, b)
	p.nodes = append(p.nodes, b)
	l.paths = append(l.paths, p)
}

func (l *layout) join(a, b int) {
	l.nodes[a].below = append(l.nodes[a].below, b)
	l.nodes[b].above = append(l.nodes[b].above, a)
}

// place orders each layer by what it is joined to, above and below in turn, and then moves
// its nodes as near to that as their widths allow. It returns the picture's size.
func (l *layout) place() (width, height int) {
	for _, layer := range l.layers {
		l.fit(layer, func(int) (float64, bool) { return 0, false })
	}
	for s := range sweeps {
		for i := range l.layers {
			l.arrange(l.layers[i], true, s < sweeps-1)
		}
		for i := len(l.layers) - 1; i >= 0; i-- {
			l.arrange(l.layers[i], false, s < sweeps-1)
		}
	}
	left := 0.0
	for _, n := range l.nodes {
		left = min(left, n.centre-float64(n.width)/2)
	}
	for i, layer := range l.layers {
		for _, n := range layer {
			l.nodes[n].x = margin + int(l.nodes[n].centre-float64(l.nodes[n].width)/2-left)
			l.nodes[n].y = headSpace + i*(boxHeight+down)
			width = max(width, l.nodes[n].x+l.nodes[n].width+margin)
		}
	}
	return width, headSpace + len(l.layers)*(boxHeight+down) - down + margin
}

func (l *layout) arrange(layer []int, fromAbove, reorder bool) {
	preferred := func(n int) (float64, bool) {
		joined := l.nodes[n].below
		if fromAbove {
			joined = l.nodes[n].above
		}
		if len(joined) == 0 {
			return 0, false
		}
		sum := 0.0
		for _, j := range joined {
			sum += l.nodes[j].centre
		}
		return sum / float64(len(joined)), true
	}
	if reorder {
		at := func(n int) float64 {
			if w, ok := preferred(n); ok {
				return w
			}
			return l.nodes[n].centre
		}
		slices.SortStableFunc(layer, func(a, b int) int {
			switch d := at(a) - at(b); {
			case d < 0:
				return -1
			case d > 0:
				return 1
			}
			return 0
		})
	}
	l.fit(layer, preferred)
}

// fit gives the nodes of a layer, in their order, the places nearest to the preferred ones
// to be: the least squares under the distances that their widths ask for.
func (l *layout) fit(layer []int, preferred func(int) (float64, bool)) {
	type block struct {
		mean  float64
		count int
	}
	offsets := make([]float64, len(layer))
	for i := 1; i < len(layer); i++ {
		offsets[i] = offsets[i-1] + float64(l.nodes[layer[i-1]].width+l.nodes[layer[i]].width)/2 + across
	}
	var blocks []block
	for i, n := range layer {
		w, ok := preferred(n)
		if !ok {
			w = l.nodes[n].centre
		}
		blocks = append(blocks, block{w - offsets[i], 1})
		for k := len(blocks) - 1; k > 0 && blocks[k-1].mean > blocks[k].mean; k-- {
			a, b := blocks[k-1], blocks[k]
			blocks[k-1] = block{(a.mean*float64(a.count) + b.mean*float64(b.count)) / float64(a.count+b.count), a.count + b.count}
			blocks = blocks[:k]
		}
	}
	i := 0
	for _, b := range blocks {
		for range b.count {
			l.nodes[layer[i]].centre = b.mean + offsets[i]
			i++
		}
	}
}

// d is the path's curve: straight down past a layer, and curved between layers.
func (p path) d() string {
	var b strings.Builder
	for i, n := range p.nodes {
		at := p.layout.nodes[n]
		x := at.x + at.width/2
		if i == 0 {
			fmt.Fprintf(&b, "M%d %d", x, at.y+boxHeight)
			continue
		}
		last := p.layout.nodes[p.nodes[i-1]]
		from := last.x + last.width/2
		fmt.Fprintf(&b, " C%d %d %d %d %d %d", from, at.y-down/2, x, at.y-down/2, x, at.y)
		if i < len(p.nodes)-1 {
			fmt.Fprintf(&b, " V%d", at.y+boxHeight)
		}
	}
	return b.String()
}
