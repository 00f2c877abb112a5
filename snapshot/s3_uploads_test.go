package snapshot

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/stretchr/testify/require"
)

// beginUpload begins a multipart upload as a writer that is killed would.
func beginUpload(t *testing.T, c *s3.Client, s *s3Store, key string) string {
	t.Helper()
	out, err := c.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: &s.bucket, Key: aws.String(s.prefix + key)})
	require.NoError(t, err)
	return aws.ToString(out.UploadId)
}

// uploads lists the unfinished uploads; the fake answers 404 when it has none.
func uploads(t *testing.T, c *s3.Client, s *s3Store) (ids []string) {
	t.Helper()
	out, err := c.ListMultipartUploads(t.Context(), &s3.ListMultipartUploadsInput{Bucket: &s.bucket})
	if status(err) == 404 {
		return nil
	}
	require.NoError(t, err)
	for _, u := range out.Uploads {
		ids = append(ids, aws.ToString(u.UploadId))
	}
	return ids
}
