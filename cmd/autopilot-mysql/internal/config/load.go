package config

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"

	"github.com/alecthomas/kong"
)

// Load reads a node's settings from the arguments of `run` (without the command's name) and the environment, the same
// for guard and agent. A settings error is an *Error; nothing but files named by settings is read.
func Load(args, environ []string) (*Settings, *Report, error) {
	args, extra := SplitExtra(args)
	s := &Settings{}
	parser, err := kong.New(s, kong.NoDefaultHelp(), kong.Exit(func(int) {}))
	if err != nil {
		return nil, nil, fmt.Errorf("declare settings: %w", err)
	}
	kctx, err := parser.Parse(args)
	if err != nil {
		return nil, nil, &Error{Problems: []Problem{{Why: err.Error(), Next: "see autopilot-mysql run --help"}}}
	}
	s.Extra = extra
	report, err := Resolve(s, FlagsOf(kctx), environ)
	return s, report, err
}

// SplitExtra cuts the arguments at the first "--"; what follows is for mysqld.
func SplitExtra(args []string) (own, extra []string) {
	for i, a := range args {
		if a == "--" {
			return args[:i], args[i+1:]
		}
	}
	return args, nil
}

// FlagsOf names the flags given on the command line.
func FlagsOf(kctx *kong.Context) map[string]bool {
	given := map[string]bool{}
	for _, p := range kctx.Path {
		if p.Flag != nil && !p.Resolved {
			given[p.Flag.Name] = true
		}
	}
	return given
}

// Resolve completes a struct whose flags kong has parsed (given names those on the command line) from environment and
// file, computes what is left "auto", and validates. target is a pointer to Settings, to Common, or to a struct that
// embeds one of them. The report is complete even when the error (an *Error) is not nil.
func Resolve(target any, given map[string]bool, environ []string) (*Report, error) {
	r := &resolver{fields: fieldsOf(target), env: parseEnviron(environ), given: given, report: &Report{Warnings: []string{}}}
	r.byName = make(map[string]*field, len(r.fields))
	for _, f := range r.fields {
		r.byName[f.name] = f
	}
	r.readFile()
	r.checkUnknown()
	_, node := target.(interface{ node() *Settings })
	if node {
		r.warnDead()
	}
	for _, f := range r.fields {
		r.resolve(f)
	}
	if c, ok := target.(interface{ common() *Common }); ok {
		r.finishCommon(c.common())
	}
	if n, ok := target.(interface{ node() *Settings }); ok {
		r.finishNode(n.node())
	} else if k, ok := target.(interface{ retention() *SnapshotRetention }); ok {
		r.checkRetention(k.retention())
	}
	for _, f := range r.fields {
		if !f.hidden || f.changed {
			r.report.Values = append(r.report.Values, Value{Name: f.name, Value: f.text(), Source: f.source.String()})
		}
	}
	return r.report, r.problems.err()
}

func (c *Common) common() *Common   { return c }
func (s *Settings) node() *Settings { return s }

func (k *SnapshotRetention) retention() *SnapshotRetention { return k }

// resolver carries one Resolve.
type resolver struct {
	fields   []*field
	byName   map[string]*field
	env      map[string]string
	given    map[string]bool
	file     map[string]string
	filePath string
	report   *Report
	problems problems
}

// offer is a value some layer has for a setting: raw as it was written, text as decode reads it. path is set instead
// when the text is in a file.
type offer struct {
	raw, text, path string
	source          Source
}

// cite names an offer in an error line; secrets stay out of it.
func (o offer) cite(secret bool) string {
	value := redact(o.raw)
	switch {
	case o.path != "":
		value = o.path
	case secret:
		value = masked
	}
	if o.source.Layer == File {
		return fmt.Sprintf("%s in %s", value, o.source.Where)
	}
	return o.source.Where + "=" + value
}

// resolve takes the value of the highest layer that has one. Two different values in one layer contradict each other.
func (r *resolver) resolve(f *field) {
	for _, offers := range [][]offer{r.flagOffers(f), r.envOffers(f), r.fileOffers(f)} {
		if len(offers) == 0 {
			continue
		}
		f.changed = true
		f.source = offers[0].source
		if r.contradict(f, offers) {
			return
		}
		r.take(f, offers[0])
		return
	}
	if f.def != "" {
		if err := decode(f.value, f.def); err != nil {
			panic("config: default of " + f.name + ": " + err.Error())
		}
	}
}

// contradict reports two offers of one layer that differ.
func (r *resolver) contradict(f *field, offers []offer) bool {
	for _, o := range offers[1:] {
		if o.path == offers[0].path && f.same(o.text, offers[0].text) {
			continue
		}
		r.problems.add("keep one of the two", "%s and %s contradict each other (both set %s)",
			offers[0].cite(f.secret), o.cite(f.secret), f.name)
		return true
	}
	return false
}

// same tells whether two texts mean the same value, "1" and "true" for instance.
func (f *field) same(a, b string) bool {
	if a == b {
		return true
	}
	x, y := reflect.New(f.value.Type()).Elem(), reflect.New(f.value.Type()).Elem()
	return decode(x, a) == nil && decode(y, b) == nil && reflect.DeepEqual(x.Interface(), y.Interface())
}

func (f *field) flagName() string {
	if f.secret {
		return f.name + "-file"
	}
	return f.name
}

// take decodes an offer into the field.
func (r *resolver) take(f *field, o offer) {
	if o.path != "" {
		text, err := ReadSecret(o.path)
		if err != nil {
			r.problems.add("mount the file or correct the path", "%s: %s", o.cite(true), err)
			return
		}
		f.path.SetString(o.path)
		f.value.SetString(text)
		return
	}
	if o.source.Layer == Flag {
		return // kong has written it
	}
	if other, ok := strings.CutPrefix(o.text, "env:"); ok && f.indirect {
		value, set := r.env[other]
		o.text = f.prefix + value
		if !set {
			r.problems.add("set that variable, or write the value itself", "%s names the variable %s, which is not set", o.cite(f.secret), other)
			return
		}
	}
	old := reflect.New(f.value.Type()).Elem()
	old.Set(f.value)
	err := decode(f.value, o.text)
	if err == nil {
		err = f.checkEnum()
	}
	if err != nil {
		r.problems.add("correct the value", "%s is %s", o.cite(f.secret), err)
		f.value.Set(old)
	}
}

func (r *resolver) flagOffers(f *field) []offer {
	name := f.flagName()
	if !r.given[name] {
		return nil
	}
	o := offer{source: Source{Flag, "--" + name}}
	if f.secret {
		o.path = f.path.String()
	}
	return []offer{o}
}

// maxSecret bounds what is read as a secret, so that a wrong path is an error and not a gigabyte in memory.
const maxSecret = 64 << 10

// ReadSecret is the content of a file without the line end an editor leaves at its end.
func ReadSecret(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", pathless(err)
	}
	if !info.Mode().IsRegular() || info.Size() > maxSecret {
		return "", errors.New("not a file of at most 64 KiB")
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return "", pathless(err)
	}
	text := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	if text == "" {
		return "", errors.New("the file is empty")
	}
	return text, nil
}

// pathless drops the path from an error whose line names it already.
func pathless(err error) error {
	var pe *os.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}
