package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

type completionCmd struct {
	Shell string `arg:"" name:"shell" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

// Help is the long text of `completion --help`.
func (*completionCmd) Help() string {
	return "Prints a script for the shell.\n\nExample: source <(autopilot-mysql completion bash)\n\nExample: autopilot-mysql completion fish > ~/.config/fish/completions/autopilot-mysql.fish"
}

// Run is called by kong.
func (c *completionCmd) Run(inv *Invocation) error {
	var err error
	switch words := completions(inv.Kong.Model.Node); c.Shell {
	case "fish":
		err = completeFish(inv.Stdout, words)
	case "zsh":
		if _, err = fmt.Fprintln(inv.Stdout, "autoload -U +X bashcompinit && bashcompinit"); err == nil {
			err = completeBash(inv.Stdout, words)
		}
	default:
		err = completeBash(inv.Stdout, words)
	}
	if err != nil {
		return fmt.Errorf("print completion: %w", err)
	}
	return nil
}

// completion is what may follow the words of a command.
type completion struct {
	path  string // "config set"
	words []string
}

// completions lists every command that is not hidden, the program itself first.
func completions(n *kong.Node) []completion {
	c := completion{path: strings.TrimSpace(strings.TrimPrefix(n.FullPath(), Program))}
	var below []completion
	for _, child := range n.Children {
		if child.Hidden {
			continue
		}
		c.words = append(c.words, child.Name)
		below = append(below, completions(child)...)
	}
	for _, p := range n.Positional {
		if p.Enum != "" {
			c.words = append(c.words, p.EnumSlice()...)
		}
	}
	c.words = append(c.words, flagsOf(n)...)
	if n.DefaultCmd != nil { // its name may be left out
		c.words = append(c.words, flagsOf(n.DefaultCmd)...)
	}
	slices.Sort(c.words)
	c.words = slices.Compact(c.words)
	return append([]completion{c}, below...)
}

func flagsOf(n *kong.Node) (words []string) {
	for _, group := range n.AllFlags(true) {
		for _, f := range group {
			words = append(words, "--"+f.Name)
		}
	}
	return words
}

// completeBash prints a function that finds the longest command among the words before the cursor.
func completeBash(w io.Writer, all []completion) error {
	var cases strings.Builder
	for _, c := range all {
		fmt.Fprintf(&cases, "    '%s') words='%s' ;;\n", c.path, strings.Join(c.words, " "))
	}
	_, err := fmt.Fprintf(w, `_autopilot_mysql() {
  local cur=${COMP_WORDS[COMP_CWORD]} path='' words='' word
  for word in "${COMP_WORDS[@]:1:$((COMP_CWORD-1))}"; do
    case $word in -*) ;; *) path="${path:+$path }$word" ;; esac
  done
  while :; do
    case $path in
%s    *) words='' ;;
    esac
    if [ -n "$words" ] || [ -z "$path" ]; then break; fi
    case $path in *' '*) path=${path%% *} ;; *) path='' ;; esac
  done
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
}
complete -F _autopilot_mysql %s
`, cases.String(), Program)
	return err
}

func completeFish(w io.Writer, all []completion) error {
	var b strings.Builder
	fmt.Fprintf(&b, "complete -c %s -f\n", Program)
	for _, c := range all {
		when := "__fish_use_subcommand"
		if c.path != "" {
			last := c.path[strings.LastIndexByte(c.path, ' ')+1:]
			when = "__fish_seen_subcommand_from " + last
		}
		for _, word := range c.words {
			if flag, ok := strings.CutPrefix(word, "--"); ok {
				fmt.Fprintf(&b, "complete -c %s -n '%s' -l %s\n", Program, when, flag)
				continue
			}
			fmt.Fprintf(&b, "complete -c %s -n '%s' -a %s\n", Program, when, word)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
