package bench

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// samples are an hour's, of a line with a wobble that a sampler sees.
func samples(start, perHour float64) (out []float64) {
	for i := range 360 {
		out = append(out, start+perHour*float64(i)/360+0.3*math.Sin(float64(i)*1.7))
	}
	return out
}

func TestGrows_tells_a_slope_from_a_wobble(t *testing.T) {
	flat := grows("x", "MiB", samples(30, 0), 10)
	require.Equal(t, "no growth", flat.Verdict)
	require.InDelta(t, 0, flat.PerHour, flat.Half+0.1)

	leak := grows("x", "MiB", samples(30, 3), 10)
	require.Equal(t, "**grows**", leak.Verdict)
	require.InDelta(t, 3, leak.PerHour, 0.2)
	require.Greater(t, leak.Last, leak.First)

	require.Equal(t, "no growth", grows("x", "MiB", samples(30, 0.1), 10).Verdict, "sure, and too little to matter")
	require.Equal(t, "no growth", grows("x", "", make([]float64, 360), 10).Verdict)
	require.Contains(t, grows("x", "MiB", samples(30, 3)[:8], 10).Verdict, "too short")
}

func TestSlope_of_a_known_line(t *testing.T) {
	b, half := slope([]float64{0, 1, 2, 3}, []float64{1, 3, 5, 7})
	require.InDelta(t, 2, b, 1e-9)
	require.InDelta(t, 0, half, 1e-6)
}

func TestPlotTime_is_wellformed(t *testing.T) {
	r := result{Name: "soak", Every: 10}
	for _, v := range samples(30, 1) {
		r.of("memory <of> agents", "MiB").add(v)
	}
	r.of("nothing", "")
	picture := plot(r)
	require.Equal(t, 2, strings.Count(picture, "<polyline"))
	for d := xml.NewDecoder(strings.NewReader(picture)); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else {
			require.NoError(t, err)
		}
	}
}
