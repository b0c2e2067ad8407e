package main

import (
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// The file is walked as a syntax tree instead of being decoded into the struct: only so can one run name every
// unknown key, wrong type and doubled key with its place, and each value keep its line for later errors.

func (l *loader) readYAML(text []byte) {
	file, err := parser.ParseBytes(text, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		at, what := origin{source: fromFile}, err.Error()
		if located, ok := err.(yaml.Error); ok {
			at, what = position(located.GetToken()), located.GetMessage()
		}
		l.add("", at, "not YAML: %s", what)
		l.unread = true
		return
	}
	for i, doc := range file.Docs {
		if doc.Body == nil {
			continue
		}
		if i > 0 {
			l.add("", position(doc.Body.GetToken()), "a second document: the configuration is one")
			return
		}
		l.readMapping("", doc.Body)
	}
}

func position(tk *token.Token) origin {
	if tk == nil || tk.Position == nil {
		return origin{source: fromFile}
	}
	return origin{source: fromFile, line: tk.Position.Line, column: tk.Position.Column}
}

// mappingOf is the keys and values of a mapping.
func mappingOf(node ast.Node) (values []*ast.MappingValueNode, ok bool) {
	switch n := node.(type) {
	case *ast.MappingNode:
		return n.Values, true
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{n}, true
	}
	return nil, false
}

// readMapping walks a section.
func (l *loader) readMapping(path string, node ast.Node) {
	if _, isNull := node.(*ast.NullNode); isNull {
		return
	}
	values, ok := mappingOf(node)
	if !ok {
		what := "the file"
		if path != "" {
			what = path
		}
		l.add("", position(node.GetToken()), "%s wants keys below it, not %s", what, describe(node))
		return
	}
	first := map[string]origin{}
	for _, v := range values {
		if name, ok := l.keyOf(v, first); ok {
			l.readKey(path, name, first[name], v.Value)
		}
	}
}

// keyOf is the name of a key. One that is no name, or stands among first already, is a problem.
func (l *loader) keyOf(v *ast.MappingValueNode, first map[string]origin) (name string, ok bool) {
	at := position(v.Key.GetToken())
	if _, ok := v.Key.(*ast.StringNode); !ok {
		l.add("", at, "%s is not a key of a configuration", strings.TrimSpace(v.Key.String()))
		return "", false
	}
	name = v.Key.GetToken().Value
	if before, ok := first[name]; ok {
		l.add("", at, "%q stands here a second time; the first is at %d:%d", name, before.line, before.column)
		return "", false
	}
	first[name] = at
	return name, true
}

func (l *loader) readKey(parent, name string, at origin, value ast.Node) {
	path := joinPath(parent, name)
	if configSchema.section(path) != nil {
		l.origins[path] = at
		l.readMapping(path, value)
		return
	}
	s := configSchema.byPath[path]
	if s == nil {
		where := ""
		if parent != "" {
			where = " in " + parent
		}
		l.add("", at, "unknown key %q%s%s", name, where, configSchema.suggestKey(parent, name))
		return
	}
	l.readSetting(s, at, s.value(&l.config), value)
}

// readSetting fills the field of a setting, or of a column of a row.
func (l *loader) readSetting(s *setting, key origin, field reflect.Value, node ast.Node) {
	at := position(node.GetToken())
	if _, isNull := node.(*ast.NullNode); isNull {
		l.add(s.path, key, "%s has no value: it wants %s", s.path, s.kind.wants())
		return
	}
	if s.kind == kindList || s.kind == kindRows {
		l.readList(s, at, field, node)
		return
	}
	if !fill(field, s.kind, node) {
		l.wrongType(s, at, node)
		return
	}
	l.set(s.path, at)
}

// fill sets a field to a scalar; false: it is of another kind.
func fill(field reflect.Value, k kind, node ast.Node) (ok bool) {
	switch k {
	case kindSwitch:
		n, ok := node.(*ast.BoolNode)
		if ok {
			field.SetBool(n.Value)
		}
		return ok
	case kindWhole:
		n, ok := node.(*ast.IntegerNode)
		var i int64
		if ok {
			i, ok = wholeOf(n)
		}
		if ok {
			field.SetInt(i)
		}
		return ok
	case kindTime:
		d, ok := durationOf(node)
		if ok {
			field.SetInt(int64(d))
		}
		return ok
	}
	text, ok := textOf(node)
	if ok {
		field.SetString(text)
	}
	return ok
}

// readList reads every element, also of a list with wrong ones, so that each keeps its number for Validate.
func (l *loader) readList(s *setting, at origin, field reflect.Value, node ast.Node) {
	seq, ok := node.(*ast.SequenceNode)
	if !ok {
		l.wrongType(s, at, node)
		return
	}
	l.set(s.path, at)
	list := reflect.MakeSlice(field.Type(), len(seq.Values), len(seq.Values))
	for i, element := range seq.Values {
		l.readElement(s, s.path+"["+strconv.Itoa(i)+"]", list.Index(i), element)
	}
	field.Set(list)
}

func (l *loader) readElement(s *setting, path string, field reflect.Value, node ast.Node) {
	at := position(node.GetToken())
	l.origins[path] = at
	if values, ok := mappingOf(node); ok && s.row != nil {
		if s.kind == kindRows {
			l.readRow(s.row, path, field, values)
			return
		}
		cells := reflect.New(s.row.of).Elem()
		given := l.readRow(s.row, path, cells, values)
		if head := s.row.columns[0].path; given[head] == (origin{}) {
			l.add(path, at, "%s lacks the key %q", path, head)
		}
		field.SetString(s.row.text(cells, given))
		return
	}
	switch text, isText := textOf(node); {
	case s.kind == kindRows:
		l.add(path, at, "%s wants keys, not %s; its keys are %s", path, describe(node), strings.Join(s.row.names(), ", "))
	case !isText && s.row != nil:
		l.add(path, at, "%s wants text or keys, not %s", path, describe(node))
	case !isText:
		l.add(path, at, "%s wants text, not %s", path, describe(node))
	default:
		field.SetString(text)
	}
}

// readRow fills the struct of a row and returns which keys it had, and where.
func (l *loader) readRow(r *row, path string, cells reflect.Value, values []*ast.MappingValueNode) (given map[string]origin) {
	given = map[string]origin{}
	for _, v := range values {
		name, ok := l.keyOf(v, given)
		if !ok {
			continue
		}
		column := r.column(name)
		if column == nil {
			hint := ""
			if near := nearest(name, r.names()); near != "" {
				hint = ", did you mean \"" + near + "\"?"
			}
			l.add("", given[name], "unknown key %q in %s%s", name, path, hint)
			continue
		}
		cell := *column
		cell.path = path + "." + name
		l.readSetting(&cell, given[name], cells.FieldByIndex(cell.index), v.Value)
	}
	return given
}

func (l *loader) wrongType(s *setting, at origin, node ast.Node) {
	hint := ""
	text, isText := textOf(node)
	switch {
	case s.kind == kindText && quotable(node):
		hint = "; put it in quotes"
	case s.kind == kindList && isText && !s.secret:
		hint = "; write [" + text + "]"
	case s.kind == kindSwitch && isText:
		hint = switchHint(text)
	}
	l.add(s.path, at, "%s wants %s, not %s%s", s.path, s.kind.wants(), describe(node), hint)
}

// quotable tells whether quotes would make a text of it.
func quotable(node ast.Node) bool {
	switch node.(type) {
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return true
	}
	return false
}

func switchHint(text string) string {
	switch strings.ToLower(text) {
	case "yes", "on", "y", "true", "enabled":
		return ", did you mean true?"
	case "no", "off", "n", "false", "disabled":
		return ", did you mean false?"
	}
	return ""
}

// describe names what stands in the file without repeating it: it may be a secret.
func describe(node ast.Node) string {
	switch node.(type) {
	case *ast.StringNode, *ast.LiteralNode:
		return "text"
	case *ast.IntegerNode:
		return "a whole number"
	case *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return "a number with a fraction"
	case *ast.BoolNode:
		return "true or false"
	case *ast.SequenceNode:
		return "a list"
	case *ast.MappingNode, *ast.MappingValueNode:
		return "keys"
	case *ast.NullNode:
		return "nothing"
	case *ast.AnchorNode, *ast.AliasNode:
		return "an anchor or alias"
	case *ast.TagNode:
		return "a tag"
	}
	return "this"
}

func textOf(node ast.Node) (string, bool) {
	switch n := node.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	}
	return "", false
}

func wholeOf(n *ast.IntegerNode) (int64, bool) {
	switch i := n.Value.(type) {
	case int64:
		return i, true
	case uint64:
		return int64(i), i <= 1<<63-1
	}
	return 0, false
}

// durationOf reads 30s, 5m, 24h; a bare 0 needs no unit.
func durationOf(node ast.Node) (time.Duration, bool) {
	if n, ok := node.(*ast.IntegerNode); ok {
		i, isWhole := wholeOf(n)
		return 0, isWhole && i == 0
	}
	text, ok := textOf(node)
	if !ok {
		return 0, false
	}
	d, err := time.ParseDuration(text)
	return d, err == nil
}
