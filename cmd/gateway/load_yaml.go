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

// readMapping walks a section.
func (l *loader) readMapping(path string, node ast.Node) {
	var values []*ast.MappingValueNode
	switch n := node.(type) {
	case *ast.MappingNode:
		values = n.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{n}
	case *ast.NullNode:
		return
	default:
		what := "the file"
		if path != "" {
			what = path
		}
		l.add("", position(node.GetToken()), "%s wants keys below it, not %s", what, describe(node))
		return
	}
	first := map[string]origin{}
	for _, v := range values {
		l.readKey(path, v, first)
	}
}

func (l *loader) readKey(parent string, v *ast.MappingValueNode, first map[string]origin) {
	at := position(v.Key.GetToken())
	if _, ok := v.Key.(*ast.StringNode); !ok {
		l.add("", at, "%s is not a key of a configuration", strings.TrimSpace(v.Key.String()))
		return
	}
	name := v.Key.GetToken().Value
	if before, ok := first[name]; ok {
		l.add("", at, "%q stands here a second time; the first is at %d:%d", name, before.line, before.column)
		return
	}
	first[name] = at
	path := joinPath(parent, name)
	if configSchema.section(path) != nil {
		l.origins[path] = at
		l.readMapping(path, v.Value)
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
	l.readSetting(s, at, v.Value)
}

func (l *loader) readSetting(s *setting, key origin, node ast.Node) {
	at := position(node.GetToken())
	if _, isNull := node.(*ast.NullNode); isNull {
		l.add(s.path, key, "%s has no value: it wants %s", s.path, s.kind.wants())
		return
	}
	value := s.value(&l.config)
	switch s.kind {
	case kindList:
		l.readList(s, at, node)
		return
	case kindSwitch:
		n, ok := node.(*ast.BoolNode)
		if !ok {
			l.wrongType(s, at, node)
			return
		}
		value.SetBool(n.Value)
	case kindWhole:
		n, ok := node.(*ast.IntegerNode)
		var i int64
		if ok {
			i, ok = wholeOf(n)
		}
		if !ok {
			l.wrongType(s, at, node)
			return
		}
		value.SetInt(i)
	case kindTime:
		d, ok := durationOf(node)
		if !ok {
			l.wrongType(s, at, node)
			return
		}
		value.SetInt(int64(d))
	case kindText:
		text, ok := textOf(node)
		if !ok {
			l.wrongType(s, at, node)
			return
		}
		value.SetString(text)
	}
	l.set(s.path, at)
}

func (l *loader) readList(s *setting, at origin, node ast.Node) {
	seq, ok := node.(*ast.SequenceNode)
	if !ok {
		l.wrongType(s, at, node)
		return
	}
	l.set(s.path, at)
	list := make([]string, 0, len(seq.Values))
	for i, element := range seq.Values {
		path := s.path + "[" + strconv.Itoa(i) + "]"
		elementAt := position(element.GetToken())
		text, ok := textOf(element)
		if !ok {
			l.add(s.path, elementAt, "%s wants text, not %s", path, describe(element))
			continue
		}
		list = append(list, text)
		l.origins[path] = elementAt
	}
	s.value(&l.config).Set(reflect.ValueOf(list))
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
