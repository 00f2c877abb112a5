package gtid

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRangeIsWhatParseSays(t *testing.T) {
	uuid := [16]byte{0x3e, 0x11, 0xfa, 0x47, 0x71, 0xca, 0x11, 0xe1, 0x9e, 0x33, 0xc8, 0x0a, 0xa9, 0x42, 0x95, 0x62}
	for _, c := range []struct {
		tag         string
		first, last int64
		want        string
	}{
		{"", 1, 1, "3e11fa47-71ca-11e1-9e33-c80aa9429562:1"},
		{"", 5, 9, "3e11fa47-71ca-11e1-9e33-c80aa9429562:5-9"},
		{"Tag_1", 2, maxGNO, "3e11fa47-71ca-11e1-9e33-c80aa9429562:tag_1:2-9223372036854775806"},
	} {
		got, err := Range(uuid, c.tag, c.first, c.last)
		require.NoError(t, err)
		require.True(t, got.Equal(MustParse(c.want)), "%s, want %s", got, c.want)
	}
	for _, bad := range []struct {
		tag         string
		first, last int64
	}{{"", 0, 1}, {"", 2, 1}, {"", 1, maxGNO + 1}, {"9", 1, 1}, {"a b", 1, 1}, {"x23456789012345678901234567890123", 1, 1}} {
		_, err := Range(uuid, bad.tag, bad.first, bad.last)
		require.Error(t, err, "%v", bad)
	}
}
