package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
)

// maxFile bounds the settings file.
const maxFile = 1 << 20

// readFile reads the JSON object named by --config or AUTOPILOT_CONFIG. Its keys are flag names, its values strings,
// numbers, booleans, or lists of strings.
func (r *resolver) readFile() {
	f := r.byName["config"]
	if f == nil {
		return
	}
	if r.filePath = f.value.String(); !r.given["config"] {
		r.filePath = r.env[EnvName("config")]
	}
	if r.filePath == "" {
		return
	}
	info, err := os.Stat(r.filePath)
	if err == nil && info.Size() > maxFile {
		err = fmt.Errorf("larger than 1 MiB")
	}
	var data []byte
	if err == nil {
		data, err = os.ReadFile(r.filePath)
	}
	if err == nil {
		r.file, err = parseFile(data)
	}
	if err != nil {
		r.problems.add("correct the file or the path", "settings file %s: %s", r.filePath, pathless(err))
		return
	}
	r.checkFileKeys()
}

// parseFile reads the object key by key: encoding/json would silently let a repeated key win.
func parseFile(data []byte) (map[string]string, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, fmt.Errorf("not a JSON object")
	}
	values := map[string]string{}
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return nil, fmt.Errorf("not JSON: %w", err)
		}
		key, _ := t.(string)
		if _, twice := values[key]; twice {
			return nil, fmt.Errorf("key %q is there twice", key)
		}
		var v any
		if err := dec.Decode(&v); err != nil {
			return nil, fmt.Errorf("value of %q: %w", key, err)
		}
		if values[key], err = fileText(v); err != nil {
			return nil, fmt.Errorf("value of %q: %w", key, err)
		}
	}
	if _, err := dec.Token(); err != nil {
		return nil, fmt.Errorf("not JSON: %w", err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, fmt.Errorf("something follows the JSON object")
	}
	return values, nil
}

func fileText(v any) (string, error) {
	switch x := v.(type) {
	case string:
		return x, nil
	case json.Number:
		return x.String(), nil
	case bool:
		return fmt.Sprint(x), nil
	case []any:
		var parts []string
		for _, e := range x {
			s, ok := e.(string)
			if !ok {
				return "", fmt.Errorf("not a list of strings")
			}
			parts = append(parts, s)
		}
		return strings.Join(parts, ","), nil
	}
	return "", fmt.Errorf("not a string, number, boolean or list")
}

// checkFileKeys refuses keys nobody declares. The keys of a node are known to every command: they share the file.
func (r *resolver) checkFileKeys() {
	known := map[string]bool{}
	for _, list := range [][]*field{fieldsOf(&Settings{}), fieldsOf(&Output{}), r.fields} {
		for _, f := range list {
			known[f.name] = f.name != "config"
			if f.secret {
				known[f.name+"-file"] = true
			}
		}
	}
	for _, key := range sortedKeys(r.file) {
		if !known[key] {
			r.problems.add("correct the key or remove it", "unknown key %q in %s (did you mean %q?)", key, r.filePath, closest(key, known))
		}
	}
}

func (r *resolver) fileOffers(f *field) []offer {
	var offers []offer
	source := Source{File, r.filePath}
	if text, ok := r.file[f.name]; ok && f.name != "config" {
		offers = append(offers, offer{raw: text, text: text, source: source})
	}
	if path, ok := r.file[f.name+"-file"]; ok && f.secret {
		offers = append(offers, offer{path: path, source: source})
	}
	return offers
}
