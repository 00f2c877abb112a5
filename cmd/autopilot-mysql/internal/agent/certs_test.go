package agent

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Certificates are read again once for every server, whatever it read at its start, and then whenever both files have
// been replaced.
func TestCertificatesAreReadWhenBothFilesAreThere(t *testing.T) {
	files := func(cert, key int64) map[string]stamp {
		return map[string]stamp{"cert": {time.Unix(cert, 0), 1}, "key": {time.Unix(key, 0), 1}}
	}
	c := certificates{}
	require.False(t, c.due(files(2, 1)), "the key may still come")
	require.False(t, c.due(files(2, 2)))
	require.True(t, c.due(files(2, 2)), "nobody knows whether the server has read these")
	require.False(t, c.due(files(2, 2)), "once")
	require.False(t, c.due(files(3, 2)))
	require.False(t, c.due(files(3, 3)))
	require.True(t, c.due(files(3, 3)))
	require.False(t, c.due(files(3, 3)))

	none := certificates{}
	require.False(t, none.due(nil))
	require.False(t, none.due(nil), "a server without certificates")
}
