package main

import (
	"fmt"
	"net/url"
	"reflect"
	"strings"
)

// row is what an element of a list is as a mapping: a struct with leaves only. There are two kinds of lists with rows. One is a
// slice of such structs; only a file can set it. The other is a list of texts which a file may also write as rows, so that
// everything can be said in a flag, too: the first key is the text, and the others that are given its URL query.
type row struct {
	of      reflect.Type
	columns []*setting // in the order of the struct; the path of each is its name
}

// textRows is a list of texts whose elements may also be rows: structs such as Row returns.
type textRows interface{ Row() any }

// rowOf reads the row type of a list; nil: its elements are no rows.
func rowOf(t reflect.Type) *row {
	if list, ok := reflect.Zero(t).Interface().(textRows); ok {
		return readRow(reflect.TypeOf(list.Row()))
	}
	if kindOf(t) == kindRows {
		return readRow(t.Elem())
	}
	return nil
}

func readRow(t reflect.Type) *row {
	r := &row{of: t}
	for _, f := range reflect.VisibleFields(t) {
		if f.Anonymous {
			continue
		}
		column := readLeaf(f)
		if column.kind >= kindList {
			panic(t.String() + "." + f.Name + ": a row has no lists in it")
		}
		column.path, column.index = f.Tag.Get("yaml"), f.Index
		r.columns = append(r.columns, column)
	}
	return r
}

// column finds a column by its name; nil when there is none.
func (r *row) column(name string) *setting {
	for _, c := range r.columns {
		if c.path == name {
			return c
		}
	}
	return nil
}

// names are the keys a row may have.
func (r *row) names() []string {
	names := make([]string, len(r.columns))
	for i, c := range r.columns {
		names[i] = c.path
	}
	return names
}

// yamlText is a row as a mapping on one line. What is zero is what a row has that does not say it, and left out.
func (r *row) yamlText(v reflect.Value) string {
	var pairs []string
	for _, c := range r.columns {
		field := v.FieldByIndex(c.index)
		switch {
		case field.IsZero():
		case c.secret:
			pairs = append(pairs, c.path+": "+quoteYAML(hidden))
		default:
			pairs = append(pairs, c.path+": "+c.yamlValue(field))
		}
	}
	return "{" + strings.Join(pairs, ", ") + "}"
}

// text is the row of a list of texts in that form; given are the keys that it had.
func (r *row) text(v reflect.Value, given map[string]origin) string {
	text, mark := "", "?"
	for i, c := range r.columns {
		if _, ok := given[c.path]; !ok {
			continue
		}
		value := plainScalar(c.kind, v.FieldByIndex(c.index))
		if i == 0 {
			if text = value; strings.Contains(text, "?") {
				mark = "&"
			}
			continue
		}
		text += mark + c.path + "=" + url.QueryEscape(value)
		mark = "&"
	}
	return text
}

// comment explains the keys of a row in a file to edit.
func (r *row) comment(indent string) string {
	var out strings.Builder
	for _, c := range r.columns {
		fmt.Fprintf(&out, "%s#   %s: %s\n", indent, c.path, c.doc)
	}
	return out.String()
}
