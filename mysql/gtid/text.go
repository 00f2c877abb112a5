package gtid

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// maxTag is the longest tag the server accepts, in bytes.
const maxTag = 32

// maxQuoted bounds how much of an offending piece an error repeats: the text
// may come from anywhere.
const maxQuoted = 80

// ParseError says which piece of a text is not part of a GTID set, and why.
type ParseError struct {
	// Piece is the offending part of the text, shortened to a readable length.
	Piece string
	// Why is the rule it breaks.
	Why string
}

func (e *ParseError) Error() string {
	return fmt.Sprintf("parse GTID set: %q: %s", e.Piece, e.Why)
}

func refuse(piece, why string) error {
	if len(piece) > maxQuoted {
		piece = piece[:maxQuoted] + "…"
	}
	return &ParseError{Piece: piece, Why: why}
}

// Parse reads a GTID set in the server's notation: uuids separated by commas,
// each followed by colon-separated intervals and tags in any order and case,
// with white space and newlines between the pieces, empty list entries
// ignored. The empty text is the empty set.
//
// Parse is stricter than the server in one respect: what the server silently
// reads as nothing (a reversed interval, a uuid or tag without any number) is
// refused here, because a set that is smaller than its text must never decide
// about data. The server itself never prints such text. Every error is a
// [*ParseError].
func Parse(text string) (Set, error) {
	found := map[key][]span{}
	for entry := range strings.SplitSeq(text, ",") {
		entry = strings.TrimFunc(entry, isSpace)
		if entry == "" {
			continue
		}
		if err := parseEntry(entry, found); err != nil {
			return Set{}, err
		}
	}
	if len(found) == 0 {
		return Set{}, nil
	}
	streams := make([]stream, 0, len(found))
	for k, list := range found {
		streams = append(streams, stream{k, normalise(list)})
	}
	slices.SortFunc(streams, func(a, b stream) int { return a.compare(b.key) })
	return Set{streams}, nil
}

// MustParse is [Parse] for constants in code and tests; it panics on an error.
func MustParse(text string) Set {
	s, err := Parse(text)
	if err != nil {
		panic(err)
	}
	return s
}

// parseEntry reads "uuid:piece:piece…", where each piece is an interval or a
// tag that holds for the intervals behind it.
func parseEntry(entry string, found map[key][]span) error {
	head, rest, some := strings.Cut(entry, ":")
	uuid, err := parseUUID(strings.TrimFunc(head, isSpace))
	if err != nil {
		return err
	}
	if !some {
		return refuse(entry, "a server uuid without any number")
	}
	k, used := key{uuid: uuid}, false
	for piece := range strings.SplitSeq(rest, ":") {
		piece = strings.TrimFunc(piece, isSpace)
		switch {
		case piece == "":
			return refuse(entry, "nothing between two colons or behind the last one")
		case isDigit(piece[0]):
			sp, err := parseSpan(piece)
			if err != nil {
				return err
			}
			found[k] = append(found[k], sp)
			used = true
		default:
			if k.tag != "" && !used {
				return refuse(k.tag, "a tag without any number")
			}
			tag, err := parseTag(piece)
			if err != nil {
				return err
			}
			k, used = key{uuid, tag}, false
		}
	}
	if !used {
		return refuse(entry, "a tag without any number")
	}
	return nil
}

// parseUUID accepts the three spellings of the server: with dashes, with
// dashes in braces, and 32 hexadecimal digits.
func parseUUID(text string) (uuid [16]byte, err error) {
	digits := text
	if n := len(text); n == 38 && text[0] == '{' && text[n-1] == '}' {
		digits = text[1 : n-1]
	}
	if len(digits) == 36 {
		for _, at := range []int{8, 13, 18, 23} {
			if digits[at] != '-' {
				return uuid, refuse(text, "not a server uuid")
			}
		}
		digits = digits[:8] + digits[9:13] + digits[14:18] + digits[19:23] + digits[24:]
	}
	if len(digits) != 32 {
		return uuid, refuse(text, "not a server uuid")
	}
	if _, err := hex.Decode(uuid[:], []byte(digits)); err != nil {
		return uuid, refuse(text, "not a server uuid")
	}
	return uuid, nil
}

// parseTag checks and lower-cases a tag.
func parseTag(text string) (string, error) {
	if len(text) > maxTag {
		return "", refuse(text, "a tag has at most 32 characters")
	}
	tag := []byte(text)
	for i, c := range tag {
		switch {
		case c >= 'A' && c <= 'Z':
			tag[i] = c + 'a' - 'A'
		case c >= 'a' && c <= 'z', c == '_', i > 0 && isDigit(c):
		default:
			return "", refuse(text, "neither an interval of numbers nor a tag (letters, digits, underscore; no digit first)")
		}
	}
	return string(tag), nil
}

// parseSpan reads "5" or "1-5".
func parseSpan(text string) (span, error) {
	head, tail, isRange := strings.Cut(text, "-")
	first, err := parseNumber(text, head)
	if err != nil {
		return span{}, err
	}
	if !isRange {
		return span{first, first}, nil
	}
	last, err := parseNumber(text, tail)
	if err != nil {
		return span{}, err
	}
	if last < first {
		return span{}, refuse(text, "an interval that ends before it begins")
	}
	return span{first, last}, nil
}

func parseNumber(whole, digits string) (int64, error) {
	digits = strings.TrimFunc(digits, isSpace)
	// ParseUint refuses signs, so that "1--5" is no interval.
	n, err := strconv.ParseUint(digits, 10, 64)
	if err != nil || n == 0 || n > maxGNO {
		return 0, refuse(whole, "not a number or interval between 1 and 9223372036854775806")
	}
	return int64(n), nil
}

// isSpace is C's isspace, which the server uses; unicode.IsSpace takes more.
func isSpace(r rune) bool {
	return r == ' ' || (r >= '\t' && r <= '\r')
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// String returns the canonical text, the same for equal sets: what the server
// prints, but on one line (the server breaks the line behind each comma).
func (s Set) String() string {
	b, _ := s.MarshalText()
	return string(b)
}

// MarshalText returns the text of [Set.String]; the error is always nil. JSON
// carries a set as a string through it.
func (s Set) MarshalText() ([]byte, error) {
	// An empty set must not become nil: JSON wants "", not null.
	out := []byte{}
	for i, st := range s.streams {
		if i == 0 || s.streams[i-1].uuid != st.uuid {
			if i > 0 {
				out = append(out, ',')
			}
			out = appendUUID(out, st.uuid)
		}
		if st.tag != "" {
			out = append(append(out, ':'), st.tag...)
		}
		for _, sp := range st.spans {
			out = strconv.AppendInt(append(out, ':'), sp.first, 10)
			if sp.last > sp.first {
				out = strconv.AppendInt(append(out, '-'), sp.last, 10)
			}
		}
	}
	return out, nil
}

// UnmarshalText is [Parse] for decoders; on an error the set is left as it was.
func (s *Set) UnmarshalText(text []byte) error {
	parsed, err := Parse(string(text))
	if err != nil {
		return err
	}
	*s = parsed
	return nil
}

func appendUUID(out []byte, uuid [16]byte) []byte {
	for i, part := range [][]byte{uuid[:4], uuid[4:6], uuid[6:8], uuid[8:10], uuid[10:]} {
		if i > 0 {
			out = append(out, '-')
		}
		out = hex.AppendEncode(out, part)
	}
	return out
}
