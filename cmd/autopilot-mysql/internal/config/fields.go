package config

import (
	"reflect"
	"regexp"
	"strings"
)

// envPrefix starts the environment name of every setting.
const envPrefix = "AUTOPILOT_"

// field is one declared setting and where its value lives.
type field struct {
	name   string   // flag name, file key
	envs   []string // environment names, our own first
	def    string
	enum   []string
	help   string
	group  string
	hidden bool
	secret bool
	// indirect values may be written "env:NAME": take it from a variable that a scheduler sets, and put prefix before it.
	indirect bool
	prefix   string
	value    reflect.Value
	path     reflect.Value // of a secret: the string field with the path of its file
	source   Source
	changed  bool // a layer above the defaults gave the value
}

// fieldsOf lists the declared settings of a struct (by pointer), embedded structs in place, in order of declaration.
func fieldsOf(target any) []*field {
	var list []*field
	byName := map[string]*field{}
	walk(reflect.ValueOf(target).Elem(), func(sf reflect.StructField, v reflect.Value) {
		secret := sf.Tag.Get("secret")
		name := sf.Tag.Get("name")
		if secret != "" {
			name = secret
		}
		if name == "" {
			return
		}
		if owner, ok := byName[strings.TrimSuffix(name, "-file")]; ok && owner.secret {
			owner.path = v
			return
		}
		f := &field{
			name: name, secret: secret != "", value: v, envs: envNames(name, sf.Tag.Get("vars")),
			def: sf.Tag.Get("default"), help: sf.Tag.Get("help"), group: sf.Tag.Get("group"),
			source: Source{Layer: Default},
		}
		_, f.hidden = sf.Tag.Lookup("hidden")
		f.prefix, f.indirect = sf.Tag.Lookup("indirect")
		if e := sf.Tag.Get("enum"); e != "" {
			f.enum = strings.Split(e, ",")
		}
		list = append(list, f)
		byName[name] = f
	})
	return list
}

func walk(v reflect.Value, visit func(reflect.StructField, reflect.Value)) {
	for i := range v.NumField() {
		sf := v.Type().Field(i)
		switch {
		case sf.Anonymous && sf.Type.Kind() == reflect.Struct:
			walk(v.Field(i), visit)
		case sf.IsExported():
			visit(sf, v.Field(i))
		}
	}
}

// envNames are the environment names of a setting; vars "-" means it has none.
func envNames(name, vars string) []string {
	if vars == "-" {
		return nil
	}
	names := []string{EnvName(name)}
	if vars != "" {
		names = append(names, strings.Split(vars, ",")...)
	}
	return names
}

// EnvName is our own environment name of the setting with this flag name.
func EnvName(flag string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// text is the value as people read it; a secret is masked, also one in a URL that does not belong there.
func (f *field) text() string { return redact(textOf(f.value)) }

var userInfo = regexp.MustCompile(`(^|://|,)[^/\s,]*@`)

// redact masks user and password of the URLs and addresses in a text.
func redact(s string) string { return userInfo.ReplaceAllString(s, "${1}"+masked+"@") }

// cite names the setting, its value and where the value comes from.
func (f *field) cite() string {
	cited := "--" + f.name + " " + f.text()
	if f.value.Kind() == reflect.Bool {
		cited = "--" + f.name + "=" + f.text()
	}
	if f.secret {
		cited = f.name
	}
	return cited + " (" + f.source.String() + ")"
}
