package gtid

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	u1 = "11111111-1111-1111-1111-111111111111"
	u2 = "aaaaaaaa-2222-2222-2222-222222222222"
)

// Accepted maps what Parse reads to the canonical text. The server test feeds
// the same list to a real mysqld.
var Accepted = []struct{ Name, In, Want string }{
	{"empty", "", ""},
	{"only separators", " , ,\n", ""},
	{"one number", u1 + ":7", u1 + ":7"},
	{"one interval", u1 + ":1-5", u1 + ":1-5"},
	{"interval of one", u1 + ":5-5", u1 + ":5"},
	{"overlap and gap", u1 + ":1-3:2-5:7", u1 + ":1-5:7"},
	{"touching", u1 + ":4-5:1-3", u1 + ":1-5"},
	{"same uuid twice", u1 + ":1:b:3," + u1 + ":2", u1 + ":1-2:b:3"},
	{"empty entries", "," + u1 + ":1,," + u1 + ":2,", u1 + ":1-2"},
	{"white space", "\n " + u1 + " : 1 - 3 :\tTag_A : 5 ", u1 + ":1-3:tag_a:5"},
	{"newline in interval", u1 + ":1\n-\n3", u1 + ":1-3"},
	{"upper-case uuid", strings.ToUpper(u2) + ":1", u2 + ":1"},
	{"braces", "{" + u1 + "}:1", u1 + ":1"},
	{"no dashes", strings.ReplaceAll(u1, "-", "") + ":1", u1 + ":1"},
	{"leading zero", u1 + ":01", u1 + ":1"},
	{"largest number", u1 + ":1-9223372036854775806", u1 + ":1-9223372036854775806"},
	{"tags sorted, untagged first", u1 + ":b:1:a:2:_c:3," + u1 + ":9", u1 + ":9:_c:3:a:2:b:1"},
	{"tag in two cases", u1 + ":TAG:1:tag:2", u1 + ":tag:1-2"},
	{"longest tag", u1 + ":abcdefghijklmnopqrstuvwxyz123456:1", u1 + ":abcdefghijklmnopqrstuvwxyz123456:1"},
	{"uuids sorted", u2 + ":1,\n" + u1 + ":2", u1 + ":2," + u2 + ":1"},
}

// Refused lists texts that are no GTID set, with the piece the error names.
var Refused = []struct {
	Name, In, Piece string
	// EmptyAtServer marks what the server reads as the empty set.
	EmptyAtServer bool
}{
	{"NULL", "NULL", "NULL", false},
	{"garbage", "x", "x", false},
	{"garbage behind a set", u1 + ":1,x", "x", false},
	{"bare uuid", u1, u1, true},
	{"uuid and colon", u1 + ":", u1 + ":", false},
	{"no uuid", ":1", "", false},
	{"short uuid", "1111:1", "1111", false},
	{"uuid with a dash missing", "1111111111111111-1111-111111111111:1", "1111111111111111-1111-111111111111", false},
	{"uuid with dashes moved", "1111111-11111-1111-1111-111111111111:1", "1111111-11111-1111-1111-111111111111", false},
	{"uuid not hexadecimal", "g" + u1[1:] + ":1", "g" + u1[1:], false},
	{"zero", u1 + ":0", "0", false},
	{"from zero", u1 + ":0-3", "0-3", false},
	{"negative", u1 + ":-1", "-1", false},
	{"plus", u1 + ":+1", "+1", false},
	{"open interval", u1 + ":1-", "1-", false},
	{"three ends", u1 + ":1-2-3", "1-2-3", false},
	{"reversed", u1 + ":5-3", "5-3", true},
	{"reversed in tag", u1 + ":tag:5-3", "5-3", true},
	{"too large", u1 + ":9223372036854775807", "9223372036854775807", false},
	{"far too large", u1 + ":1-99999999999999999999", "1-99999999999999999999", false},
	{"double colon", u1 + ":1::2", u1 + ":1::2", false},
	{"colon at the end", u1 + ":1:", u1 + ":1:", false},
	{"tag without number", u1 + ":tag", u1 + ":tag", true},
	{"tag and colon", u1 + ":tag:", u1 + ":tag:", false},
	{"two uuids without comma", u1 + ":1:" + u2 + ":2", u2, false},
	{"digit first in tag", u1 + ":1a:1", "1a", false},
	{"blank in tag", u1 + ":a b:1", "a b", false},
	{"tag too long", u1 + ":abcdefghijklmnopqrstuvwxyz1234567:1", "abcdefghijklmnopqrstuvwxyz1234567", false},
	{"no-break space", u1 + ":1\u00a0", "1\u00a0", false},
}

func TestParseAccepts(t *testing.T) {
	for _, tc := range Accepted {
		t.Run(tc.Name, func(t *testing.T) {
			s, err := Parse(tc.In)
			require.NoError(t, err)
			require.Equal(t, tc.Want, s.String())
			require.True(t, s.Equal(MustParse(tc.Want)), "the canonical text means the same set")
		})
	}
}

func TestParseRefusesAndNamesThePiece(t *testing.T) {
	for _, tc := range Refused {
		t.Run(tc.Name, func(t *testing.T) {
			s, err := Parse(tc.In)
			var pe *ParseError
			require.ErrorAs(t, err, &pe)
			require.Equal(t, tc.Piece, pe.Piece)
			require.NotEmpty(t, pe.Why)
			require.True(t, s.IsEmpty())
		})
	}
}

func TestParseAcceptsATagWithoutNumberNowhere(t *testing.T) {
	_, err := Parse(u1 + ":a:b:1") // the server drops tag a
	require.ErrorContains(t, err, `"a"`)
}

func TestParseErrorStaysShort(t *testing.T) {
	_, err := Parse(strings.Repeat("x", 1<<20))
	require.Less(t, len(err.Error()), 200)
}

func TestMustParsePanics(t *testing.T) {
	require.Panics(t, func() { MustParse("x") })
}

func TestTextAndJSON(t *testing.T) {
	type record struct{ GTID Set }
	for _, text := range []string{"", u1 + ":1-5:tag:3"} {
		b, err := json.Marshal(record{MustParse(text)})
		require.NoError(t, err)
		require.JSONEq(t, `{"GTID":"`+text+`"}`, string(b))
		var back record
		require.NoError(t, json.Unmarshal(b, &back))
		require.True(t, back.GTID.Equal(MustParse(text)))
	}
	kept := MustParse(u1 + ":1")
	require.Error(t, kept.UnmarshalText([]byte("x")))
	require.Equal(t, u1+":1", kept.String(), "a failed decode leaves the set alone")
}

// FuzzParse: whatever is accepted prints a text that reads as the same set and
// prints the same again.
func FuzzParse(f *testing.F) {
	for _, tc := range Accepted {
		f.Add(tc.In)
	}
	for _, tc := range Refused {
		f.Add(tc.In)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := Parse(text)
		if err != nil {
			var pe *ParseError
			require.ErrorAs(t, err, &pe)
			return
		}
		requireWellFormed(t, s)
		again, err := Parse(s.String())
		require.NoError(t, err)
		require.True(t, again.Equal(s))
		require.Equal(t, s.String(), again.String())
	})
}
