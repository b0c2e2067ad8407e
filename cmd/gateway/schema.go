package main

import (
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/tidegate/tidegate/gateway"
)

// kind is the type of a setting as an operator sees it.
type kind uint8

const (
	kindText kind = iota
	kindWhole
	kindSwitch
	kindTime
	kindList
	kindRows
)

// wants completes "wants …" in an error message.
func (k kind) wants() string {
	switch k {
	case kindWhole:
		return "a whole number"
	case kindSwitch:
		return "true or false"
	case kindTime:
		return "a time such as 30s, 5m or 24h"
	case kindList:
		return "a list"
	case kindRows:
		return "a list of rows"
	}
	return "text"
}

// setting is one leaf of gateway.Config: what the file, the environment and the flags can set.
type setting struct {
	path   string // YAML names joined by dots, such as nats.url
	doc    string
	kind   kind
	secret bool
	index  []int // for reflect.Value.FieldByIndex
	row    *row  // what an element is, or may be, as a mapping; nil for what has no such elements
}

// env is the variable that sets s.
func (s *setting) env() string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(s.path, ".", "_"))
}

// section is a struct of gateway.Config. The root has the path "" and is the first.
type section struct {
	path     string
	doc      string
	settings []*setting // in the order of the struct
}

// schema is gateway.Config read once through its tags; it is the only description of the configuration there is.
type schema struct {
	sections []*section
	settings []*setting
	byPath   map[string]*setting
	byEnv    map[string]*setting
}

var configSchema = readSchema(reflect.TypeFor[gateway.Config]())

func readSchema(t reflect.Type) *schema {
	s := &schema{byPath: map[string]*setting{}, byEnv: map[string]*setting{}}
	s.readSection(t, section{}, nil)
	return s
}

func (s *schema) readSection(t reflect.Type, head section, index []int) {
	sec := &head
	s.sections = append(s.sections, sec)
	for f := range t.Fields() {
		path := f.Tag.Get("yaml")
		if sec.path != "" {
			path = sec.path + "." + path
		}
		at := append(append([]int(nil), index...), f.Index...)
		if f.Type.Kind() == reflect.Struct {
			s.readSection(f.Type, section{path: path, doc: f.Tag.Get("doc")}, at)
			continue
		}
		leaf := readLeaf(f)
		leaf.path, leaf.index, leaf.row = path, at, rowOf(f.Type)
		sec.settings = append(sec.settings, leaf)
		s.settings = append(s.settings, leaf)
		s.byPath[leaf.path] = leaf
		s.byEnv[leaf.env()] = leaf
	}
}

// readLeaf is what the tags of a field say; it has no path yet.
func readLeaf(f reflect.StructField) *setting {
	return &setting{doc: f.Tag.Get("doc"), kind: kindOf(f.Type), secret: f.Tag.Get("secret") == "true"}
}

func kindOf(t reflect.Type) kind {
	switch {
	case t == reflect.TypeFor[time.Duration]():
		return kindTime
	case t.Kind() == reflect.String:
		return kindText
	case t.Kind() == reflect.Int:
		return kindWhole
	case t.Kind() == reflect.Bool:
		return kindSwitch
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.String:
		return kindList
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct:
		return kindRows
	}
	panic("gateway.Config has a field of a type that no source can fill: " + t.String())
}

// section finds a section by its path; nil when there is none.
func (s *schema) section(path string) *section {
	for _, sec := range s.sections {
		if sec.path == path {
			return sec
		}
	}
	return nil
}

// children are the names allowed below a section: its settings and its sections.
func (s *schema) children(path string) []string {
	var names []string
	for _, leaf := range s.section(path).settings {
		names = append(names, lastName(leaf.path))
	}
	for _, sec := range s.sections[1:] {
		if parentPath(sec.path) == path {
			names = append(names, lastName(sec.path))
		}
	}
	return names
}

func lastName(path string) string { return path[strings.LastIndexByte(path, '.')+1:] }

func parentPath(path string) string {
	if i := strings.LastIndexByte(path, '.'); i >= 0 {
		return path[:i]
	}
	return ""
}

func joinPath(parent, name string) string {
	if parent == "" {
		return name
	}
	return parent + "." + name
}

// value is the field of s in c.
func (s *setting) value(c *gateway.Config) reflect.Value {
	return reflect.ValueOf(c).Elem().FieldByIndex(s.index)
}

// setText fills s from the text of a variable or a flag. The message names what was wanted.
func (s *setting) setText(c *gateway.Config, text string) (message string) {
	if s.kind == kindRows {
		return "only a file can set " + s.path + ": it is a list of rows"
	}
	switch v := s.value(c); s.kind {
	case kindText:
		v.SetString(text)
	case kindList:
		v.Set(reflect.ValueOf(splitList(text)))
	case kindWhole:
		n, err := strconv.ParseInt(text, 0, 64)
		if err != nil {
			return wrongText(s.kind, text)
		}
		v.SetInt(n)
	case kindSwitch:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return wrongText(s.kind, text)
		}
		v.SetBool(b)
	case kindTime:
		d, err := time.ParseDuration(text)
		if err != nil {
			return wrongText(s.kind, text)
		}
		v.SetInt(int64(d))
	}
	return ""
}

func wrongText(k kind, text string) string { return fmt.Sprintf("wants %s, not %q", k.wants(), text) }

func splitList(text string) []string {
	var list []string
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part != "" {
			list = append(list, part)
		}
	}
	return list
}

// yamlText is the value of s in c as it is written in a file, on one line.
func (s *setting) yamlText(c *gateway.Config) string { return s.yamlValue(s.value(c)) }

func (s *setting) yamlValue(v reflect.Value) string {
	switch s.kind {
	case kindList, kindRows:
		texts := make([]string, v.Len())
		for i := range texts {
			texts[i] = s.yamlElement(v.Index(i))
		}
		return "[" + strings.Join(texts, ", ") + "]"
	case kindText:
		return quoteYAML(v.String())
	default:
		return plainScalar(s.kind, v)
	}
}

// yamlElement is an element of a list.
func (s *setting) yamlElement(v reflect.Value) string {
	if s.kind == kindRows {
		return s.row.yamlText(v)
	}
	return quoteYAML(v.String())
}

// plainScalar is a scalar as text.
func plainScalar(k kind, v reflect.Value) string {
	switch k {
	case kindWhole:
		return strconv.FormatInt(v.Int(), 10)
	case kindSwitch:
		return strconv.FormatBool(v.Bool())
	case kindTime:
		return shortDuration(time.Duration(v.Int()))
	default:
		return v.String()
	}
}

// shortDuration is d without the zero units that Duration.String puts behind it: 20m, not 20m0s.
func shortDuration(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// quoteYAML writes s as a YAML scalar that reads back as the same text: plain where that is certain, else double quoted.
func quoteYAML(s string) string {
	if plainYAML.MatchString(s) && !wordsOfYAML[strings.ToLower(s)] {
		return s
	}
	return strconv.Quote(s)
}

var (
	plainYAML   = regexp.MustCompile(`^[A-Za-z./][A-Za-z0-9._/-]*(:[A-Za-z0-9._/-]+)*$`)
	wordsOfYAML = map[string]bool{"true": true, "false": true, "null": true, "yes": true, "no": true, "on": true, "off": true, ".inf": true, ".nan": true}
)
