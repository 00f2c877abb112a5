package gtid

import (
	"encoding/hex"
	"fmt"
)

// Range returns the set of the numbers first..last of one server and tag, as
// the binary log tells them: without going through text. An empty tag is the
// untagged stream.
func Range(uuid [16]byte, tag string, first, last int64) (Set, error) {
	if first < 1 || last < first || last > maxGNO {
		return Set{}, refuse(fmt.Sprintf("%s:%d-%d", hex.EncodeToString(uuid[:]), first, last), "not an interval of transaction numbers")
	}
	if tag != "" {
		lower, err := parseTag(tag)
		if err != nil {
			return Set{}, err
		}
		tag = lower
	}
	return Set{[]stream{{key{uuid, tag}, spans{{first, last}}}}}, nil
}

// One returns the set of a single GTID.
func One(uuid [16]byte, tag string, number int64) (Set, error) {
	return Range(uuid, tag, number, number)
}
