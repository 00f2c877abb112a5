package config

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

var durationType = reflect.TypeFor[time.Duration]()

// decode writes text into v. The error says what the text is not, without repeating it.
func decode(v reflect.Value, text string) error {
	if u, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		return u.UnmarshalText([]byte(text))
	}
	switch {
	case v.Type() == durationType:
		d, err := time.ParseDuration(text)
		if err != nil {
			return fmt.Errorf("not a duration: write it like 500ms, 3s or 24h")
		}
		v.SetInt(int64(d))
	case v.Kind() == reflect.String:
		v.SetString(text)
	case v.Kind() == reflect.Int:
		n, err := strconv.Atoi(text)
		if err != nil {
			return fmt.Errorf("not a whole number")
		}
		v.SetInt(int64(n))
	case v.Kind() == reflect.Bool:
		b, err := parseBool(text)
		if err != nil {
			return err
		}
		v.SetBool(b)
	case v.Kind() == reflect.Slice:
		v.Set(reflect.ValueOf(splitList(text)))
	default:
		panic("config: no way to read a " + v.Type().String())
	}
	return nil
}

// parseBool knows the spellings the predecessor accepted; anything else is an error there was none for.
func parseBool(text string) (bool, error) {
	switch strings.ToLower(text) {
	case "1", "yes", "y", "on", "true", "t":
		return true, nil
	case "0", "no", "n", "off", "false", "f":
		return false, nil
	}
	return false, fmt.Errorf("neither true nor false")
}

func splitList(text string) []string {
	var list []string
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part != "" {
			list = append(list, part)
		}
	}
	return list
}

// textOf is the inverse of decode, for people: secrets are masked.
func textOf(v reflect.Value) string {
	switch x := v.Interface().(type) {
	case []string:
		return strings.Join(x, ",")
	case fmt.Stringer:
		return x.String()
	default:
		return fmt.Sprint(x)
	}
}

// checkEnum says which words are allowed when the value is none of them.
func (f *field) checkEnum() error {
	if len(f.enum) == 0 || slices.Contains(f.enum, f.value.String()) {
		return nil
	}
	return fmt.Errorf("not one of %s", strings.Join(f.enum, ", "))
}
