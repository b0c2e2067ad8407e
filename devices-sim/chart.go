package main

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// plot is a line chart, drawn as SVG. Colours and fonts are the page's: lines have the classes s0, s1 …
type plot struct {
	title  string
	y      func(float64) string // how a value is written
	x      func(float64) string
	ticksX []float64 // nil: round numbers
	log    bool      // the y axis
	marks  []mark    // vertical lines
	lines  []line
}

// line is one series of a plot.
type line struct {
	name   string
	xs, ys []float64
}

// mark is a moment that matters.
type mark struct {
	at   float64
	text string
}

// The drawing, in its own units.
const (
	plotWidth, plotHeight          = 640.0, 260.0
	plotLeft, plotRight            = 64.0, 14.0
	plotTop, plotBottom            = 16.0, 30.0
	plotInnerWidth                 = plotWidth - plotLeft - plotRight
	plotInnerHeight                = plotHeight - plotTop - plotBottom
	plotTicksX, plotTicksY         = 8, 5
	logFloor               float64 = 0.001 // the least that a logarithmic axis shows
)

// scale maps values to the drawing.
type scale struct {
	low, high float64
	log       bool
	from, to  float64
}

func (s scale) at(value float64) float64 {
	low, high := s.low, s.high
	if s.log {
		low, high, value = math.Log10(low), math.Log10(high), math.Log10(max(value, s.low))
	}
	return s.from + (value-low)/(high-low)*(s.to-s.from)
}

// scales finds the axes: the y axis begins at 0, or at a power of ten.
func (p *plot) scales() (x, y scale) {
	x = scale{low: math.Inf(1), high: math.Inf(-1), from: plotLeft, to: plotLeft + plotInnerWidth}
	least, most := math.Inf(1), 0.0
	for _, l := range p.lines {
		for i := range l.xs {
			x.low, x.high = min(x.low, l.xs[i]), max(x.high, l.xs[i])
			most = max(most, l.ys[i])
			if l.ys[i] > 0 {
				least = min(least, l.ys[i])
			}
		}
	}
	if p.ticksX == nil {
		x.low = 0
	}
	if !(x.high > x.low) {
		x.high = x.low + 1
	}
	y = scale{high: most, log: p.log, from: plotTop + plotInnerHeight, to: plotTop}
	switch {
	case p.log:
		y.low = math.Pow(10, math.Floor(math.Log10(max(min(least, most), logFloor))))
		y.high = math.Pow(10, math.Ceil(math.Log10(max(most, y.low*1.01))))
	case most == 0:
		y.high = 1
	default:
		step := niceStep(most / plotTicksY)
		y.high = math.Ceil(most/step) * step
	}
	return x, y
}

// niceStep is 1, 2 or 5 times a power of ten, no less than least.
func niceStep(least float64) float64 {
	power := math.Pow(10, math.Floor(math.Log10(least)))
	for _, m := range []float64{1, 2, 5} {
		if m*power >= least*(1-1e-9) {
			return m * power
		}
	}
	return 10 * power
}

// ticks are where the grid is.
func (s scale) ticks(about int) (list []float64) {
	if s.log {
		for v := s.low; v <= s.high*1.001; v *= 10 {
			list = append(list, v)
		}
		return list
	}
	step := niceStep((s.high - s.low) / float64(about))
	for i := math.Ceil(s.low / step); i*step <= s.high*(1+1e-9); i++ {
		list = append(list, i*step)
	}
	return list
}

// svg draws the plot.
func (p *plot) svg() string {
	var b strings.Builder
	x, y := p.scales()
	fmt.Fprintf(&b, `<svg viewBox="0 0 %g %g" role="img" aria-label="%s">`, plotWidth, plotHeight, html.EscapeString(p.title))
	for _, v := range y.ticks(plotTicksY) {
		fmt.Fprintf(&b, `<line class="grid" x1="%g" x2="%g" y1="%.1f" y2="%.1f"/><text class="tick" x="%g" y="%.1f" text-anchor="end">%s</text>`,
			plotLeft, plotLeft+plotInnerWidth, y.at(v), y.at(v), plotLeft-8, y.at(v)+4, html.EscapeString(p.y(v)))
	}
	ticks := p.ticksX
	if ticks == nil {
		ticks = x.ticks(plotTicksX)
	}
	for _, v := range ticks {
		if v <= x.high {
			fmt.Fprintf(&b, `<text class="tick" x="%.1f" y="%g" text-anchor="middle">%s</text>`, x.at(v), plotHeight-10, html.EscapeString(p.x(v)))
		}
	}
	for _, m := range p.marks {
		fmt.Fprintf(&b, `<line class="mark" x1="%.1f" x2="%.1f" y1="%g" y2="%g"/><text class="tick" x="%.1f" y="%g">%s</text>`,
			x.at(m.at), x.at(m.at), plotTop, plotTop+plotInnerHeight, x.at(m.at)+4, plotTop+10, html.EscapeString(m.text))
	}
	for i, l := range p.lines {
		fmt.Fprintf(&b, `<polyline class="s%d" points="`, i%plotColours)
		for k := range l.xs {
			fmt.Fprintf(&b, "%.1f,%.1f ", x.at(l.xs[k]), y.at(l.ys[k]))
		}
		b.WriteString(`"/>`)
		if len(l.xs) == 1 {
			fmt.Fprintf(&b, `<circle class="s%d" cx="%.1f" cy="%.1f" r="3"/>`, i%plotColours, x.at(l.xs[0]), y.at(l.ys[0]))
		}
	}
	b.WriteString(`</svg>`)
	return b.String()
}

// plotColours is how many classes of lines the page has colours for.
const plotColours = 8
