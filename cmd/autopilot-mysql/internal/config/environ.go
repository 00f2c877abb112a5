package config

import (
	"sort"
	"strings"
)

// reserved environment prefixes belong to our own processes and tests, not to settings.
var reserved = []string{envPrefix + "GUARD_", envPrefix + "TEST_", envPrefix + "AGENT_", envPrefix + "PLAYGROUND_"}

// parseEnviron reads NAME=value entries literally, up to the first '='. An empty value counts as not set, because
// compose files and templates pass on variables nobody filled in.
func parseEnviron(environ []string) map[string]string {
	env := make(map[string]string, len(environ))
	for _, e := range environ {
		name, value, ok := strings.Cut(e, "=")
		if ok && value != "" {
			env[name] = value
		} else {
			delete(env, name)
		}
	}
	return env
}

// envOffers are all values the environment has for a setting, our own name first.
func (r *resolver) envOffers(f *field) []offer {
	var offers []offer
	for _, name := range f.envs {
		text, ok := r.env[name]
		if ok && !injected(name, text) {
			raw := text
			if convert := conversions[name]; convert != nil {
				text = convert(text)
			}
			offers = append(offers, offer{raw: raw, text: text, source: Source{Environment, name}})
		}
		if path, ok := r.env[name+"_FILE"]; ok && f.secret {
			offers = append(offers, offer{path: path, source: Source{Environment, name + "_FILE"}})
		}
	}
	if f.name == "store" {
		if o, ok := r.legacyStore(len(offers) > 0); ok {
			offers = append(offers, o)
		}
	}
	return offers
}

// EnvNames are the environment names of a node's setting, our own first: what a help text says beside the flag. For a
// secret's file they include the names that hold the secret itself. Nil when nothing of that name is declared.
func EnvNames(flag string) []string {
	for _, f := range append(fieldsOf(&Settings{}), fieldsOf(&Output{})...) {
		if f.flagName() != flag {
			continue
		}
		if !f.secret {
			return f.envs
		}
		var names []string
		for _, name := range f.envs {
			names = append(names, name, name+"_FILE")
		}
		return names
	}
	return nil
}

// injected recognises what container platforms set for a service that happens to be called "autopilot…".
func injected(name, value string) bool {
	if !strings.HasPrefix(name, envPrefix) {
		return false
	}
	for _, mark := range []string{"_SERVICE_HOST", "_SERVICE_PORT", "_TCP", "_UDP"} {
		if strings.Contains(name, mark) {
			return true
		}
	}
	return strings.HasPrefix(value, "tcp://") || strings.HasPrefix(value, "udp://")
}

// checkUnknown refuses AUTOPILOT_ variables nobody declares: a misspelt setting must not be silently the default.
func (r *resolver) checkUnknown() {
	known := map[string]bool{}
	for _, list := range [][]*field{fieldsOf(&Settings{}), fieldsOf(&Output{}), r.fields} {
		for _, f := range list {
			for _, name := range f.envs {
				known[name] = true
				known[name+"_FILE"] = f.secret || known[name+"_FILE"]
			}
		}
	}
	var unknown []string
	for name, value := range r.env {
		if strings.HasPrefix(name, envPrefix) && !known[name] && !injected(name, value) && !isReserved(name) {
			unknown = append(unknown, name)
		}
	}
	sort.Strings(unknown)
	for _, name := range unknown {
		r.problems.add("correct the name or unset it", "unknown variable %s (did you mean %s?)", name, closest(name, known))
	}
}

func isReserved(name string) bool {
	for _, prefix := range reserved {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// closest is the known name with the fewest edits; the first in order of the alphabet when several are as near.
func closest(name string, known map[string]bool) string {
	best, least := "", -1
	for k, ok := range known {
		if !ok || !strings.HasPrefix(k, name[:min(len(name), 1)]) {
			continue
		}
		if d := edits(name, k); least < 0 || d < least || d == least && k < best {
			best, least = k, d
		}
	}
	return best
}

// edits is the Levenshtein distance between two names.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			change := diagonal
			if a[i-1] != b[j-1] {
				change++
			}
			diagonal = row[j]
			row[j] = min(change, row[j]+1, row[j-1]+1)
		}
	}
	return row[len(b)]
}
