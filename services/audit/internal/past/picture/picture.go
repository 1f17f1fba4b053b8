// Package picture draws a graph of events as SVG, in layers, from the event in question
// downwards.
//
// The same graph gives the same bytes. The SVG needs only a browser: it has no script,
// no font and no reference to another file. The only error is one of the writer.
package picture

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// A Box is one event, or several that are told as one.
type Box struct {
	ID    string
	Group string // colours it: the service
	Head  string
	Aside string // beside the head: when
	Text  string
	Bad   bool // something was refused or failed
	Asked bool
	More  bool // the graph continues behind it
}

// A Line joins two boxes; a faint one is less than a cause.
type Line struct {
	Above, Below string
	Faint        bool
}

const (
	boxWidth  = 304
	boxHeight = 62
	column    = 14 // of a line that passes a layer
	across    = 22
	down      = 34
	margin    = 20
	perLine   = 46 // characters
	headSpace = 44
)

const style = `svg{font:11.5px system-ui,sans-serif;background:#f4f6f5}
.box{fill:#fff;stroke:#a9b8b4}.head{font-weight:600;font-size:12.5px;fill:#16211f}
.aside,.more{fill:#5c6b68}.text{fill:#16211f}.title{font-size:15px;font-weight:600;fill:#16211f}
.line{fill:none;stroke:#7d8f8a;stroke-width:1.5}.faint{stroke-dasharray:4 3;stroke:#a9b8b4}
.bad .box{stroke:#b3261e}.asked .box{stroke:#0b6e7f;stroke-width:2.5}
.bar{fill:#5f6b6a}` + light + `
@media(prefers-color-scheme:dark){svg{background:#101716}.box{fill:#18211f;stroke:#566763}.head,.text,.title{fill:#e4ecea}
.aside,.more{fill:#98a8a4}.line{stroke:#7d8f8a}.faint{stroke:#566763}.bad .box{stroke:#ff8a80}.asked .box{stroke:#4fb8c9}` + dark + `}`

// Draw writes the picture. Boxes come in an order in which everything stands after what
// is above it; lines to boxes that are not there are left out.
func Draw(w io.Writer, title string, boxes []Box, lines []Line) error {
	l := newLayout(boxes, lines)
	width, height := l.place()
	width = max(width, 2*margin+boxWidth*2)
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" role="img">`+"\n<title>%s</title>\n<style>%s</style>\n",
		width, height, width, height, escaped(title), style)
	fmt.Fprintf(&b, `<text class="title" x="%d" y="%d">%s</text>`+"\n", margin, margin+8, escaped(clip(title, width/8)))
	for _, p := range l.paths {
		class := "line"
		if p.faint {
			class = "line faint"
		}
		fmt.Fprintf(&b, `<path class="%s" d="%s"/>`+"\n", class, p.d())
	}
	for i, box := range boxes {
		draw(&b, box, l.nodes[i].x, l.nodes[i].y)
	}
	b.WriteString("</svg>\n")
	_, err := w.Write(b.Bytes())
	return err
}

func draw(b *bytes.Buffer, box Box, x, y int) {
	classes := []string{box.Group}
	if box.Bad {
		classes = append(classes, "bad")
	}
	if box.Asked {
		classes = append(classes, "asked")
	}
	fmt.Fprintf(b, `<g class="%s" transform="translate(%d %d)" data-event="%s"><title>%s</title>`, escaped(strings.Join(classes, " ")), x, y, escaped(box.ID),
		escaped(box.Head+", "+box.Aside+"\n"+box.Text+"\n"+box.ID))
	fmt.Fprintf(b, `<rect class="box" width="%d" height="%d" rx="5"/><rect class="bar" width="4" height="%d" rx="2"/>`, boxWidth, boxHeight, boxHeight)
	fmt.Fprintf(b, `<text class="head" x="12" y="17">%s</text><text class="aside" x="%d" y="17" text-anchor="end">%s</text>`,
		escaped(clip(box.Head, 25)), boxWidth-8, escaped(box.Aside))
	for i, line := range wrapped(box.Text, perLine, 2) {
		fmt.Fprintf(b, `<text class="text" x="12" y="%d">%s</text>`, 35+i*16, escaped(line))
	}
	if box.More {
		fmt.Fprintf(b, `<text class="more" x="%d" y="%d" text-anchor="middle">⋯</text>`, boxWidth/2, boxHeight+11)
	}
	b.WriteString("</g>\n")
}

// escaped is text that is safe inside an element or a quoted attribute.
func escaped(s string) string {
	var b strings.Builder
	if err := xml.EscapeText(&b, []byte(s)); err != nil {
		return ""
	}
	return b.String()
}

func clip(s string, most int) string {
	if utf8.RuneCountInString(s) <= most {
		return s
	}
	return string([]rune(s)[:max(most-1, 0)]) + "…"
}

// wrapped breaks a text into lines at its spaces; what does not fit is cut.
func wrapped(s string, per, lines int) []string {
	var out []string
	words := strings.Fields(s)
	for len(words) > 0 && len(out) < lines {
		line := words[0]
		words = words[1:]
		for len(words) > 0 && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(words[0]) <= per {
			line += " " + words[0]
			words = words[1:]
		}
		if len(out) == lines-1 && len(words) > 0 {
			line += " …"
		}
		out = append(out, clip(line, per))
	}
	return out
}
