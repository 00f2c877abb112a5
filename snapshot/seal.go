package snapshot

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
)

// A manifest ends with a line that holds the SHA-256 of everything before that
// line, so that `head -n -2 manifest.json | sha256sum` proves it by hand and no
// flipped bit in it goes unnoticed.

// sumLine is the end of a sealed document; %s is the sum.
const sumLine = "  \"checksum\": \"%s\"\n}\n"

// sealJSON is v as indented JSON with the checksum as its last field. v must be
// an object with at least one field and none called checksum.
func sealJSON(v any) ([]byte, error) {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return nil, err
	}
	body, ok := bytes.CutSuffix(data, []byte("\n}"))
	if !ok {
		return nil, errors.New("seal JSON: not an object with fields")
	}
	body = append(body, ",\n"...)
	return fmt.Appendf(body, sumLine, sumOf(body)), nil
}

// checkSealed tells whether data is what sealJSON made.
func checkSealed(data []byte) error {
	n := len(fmt.Sprintf(sumLine, sumOf(nil)))
	if len(data) < n {
		return fmt.Errorf("%w: it ends too early", ErrCorrupt)
	}
	body, end := data[:len(data)-n], data[len(data)-n:]
	sum := sumOf(body)
	if string(end) == fmt.Sprintf(sumLine, sum) {
		return nil
	}
	return fmt.Errorf("%w: its last line is not the checksum of what is before it, %s", ErrCorrupt, sum)
}

func sumOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
