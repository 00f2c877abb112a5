package config

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strconv"
	"strings"
)

// masked stands for a secret in everything people read.
const masked = "***"

// Secret is a text that never shows itself: not in %v, not in a log line, not in JSON. string(s) is the text.
type Secret string

// String returns a mask, or nothing when there is no secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return masked
}

// GoString masks the secret in %#v as well.
func (s Secret) GoString() string { return strconv.Quote(s.String()) }

// MarshalText masks the secret in JSON and the like.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LogValue masks the secret in log lines.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// Bytes is a size in bytes; 0 is written "auto".
type Bytes int64

// Units of Bytes; powers of 1024, as in MySQL's own options.
const (
	KiB Bytes = 1 << 10
	MiB Bytes = 1 << 20
	GiB Bytes = 1 << 30
	TiB Bytes = 1 << 40
)

var byteUnits = []struct {
	suffix string
	size   Bytes
}{{"T", TiB}, {"G", GiB}, {"M", MiB}, {"K", KiB}}

// UnmarshalText reads "auto", plain bytes, or a number with K, M, G or T (optionally followed by B or iB).
func (b *Bytes) UnmarshalText(text []byte) error {
	s := strings.ToUpper(strings.TrimSpace(string(text)))
	if s == "AUTO" {
		*b = 0
		return nil
	}
	unit := Bytes(1)
	digits := s
	for _, u := range byteUnits {
		for _, ending := range []string{u.suffix, u.suffix + "B", u.suffix + "IB"} {
			if rest, ok := strings.CutSuffix(s, ending); ok {
				unit, digits = u.size, strings.TrimSpace(rest)
			}
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n <= 0 {
		return errors.New("not a size: write auto, or a number with K, M, G or T")
	}
	if n > math.MaxInt64/int64(unit) {
		return errors.New("too large a size")
	}
	*b = Bytes(n) * unit
	return nil
}

// String writes the size with the largest unit that divides it.
func (b Bytes) String() string {
	if b == 0 {
		return "auto"
	}
	for _, u := range byteUnits {
		if b%u.size == 0 {
			return fmt.Sprintf("%d%s", b/u.size, u.suffix)
		}
	}
	return strconv.FormatInt(int64(b), 10)
}

// MarshalText writes the size as String does.
func (b Bytes) MarshalText() ([]byte, error) { return []byte(b.String()), nil }
