package snapshot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"path"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// PutNew implements Store with a conditional write.
func (s *s3Store) PutNew(ctx context.Context, key string, data []byte) error {
	if err := checkKey(key); err != nil {
		return err
	}
	c, err := s.ready(ctx)
	if err == nil {
		err = s.putNew(ctx, c, key, data)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", key, err)
	}
	return nil
}

// putNew sends the request itself as often as needed, because the answer
// depends on what happened to the attempt before: "exists already" after a lost
// answer may well be our own object.
func (s *s3Store) putNew(ctx context.Context, c *s3.Client, key string, data []byte) (err error) {
	condition := aws.String("*")
	// Servers that do not know the condition ignore it. Looking first catches
	// all but a race on those.
	if exists, err := s.exists(ctx, c, key); err != nil || exists {
		return errors.Join(err, errIf(exists, ErrExists))
	}
	unknown := false
	for try := range s.opts.Attempts {
		if try > 0 {
			if err := pause(ctx, try); err != nil {
				return err
			}
		}
		call, cancel := context.WithTimeout(ctx, s.opts.CallTimeout)
		_, err = c.PutObject(call, &s3.PutObjectInput{
			Bucket: &s.bucket, Key: aws.String(s.prefix + key), Body: bytes.NewReader(data),
			IfNoneMatch: condition, ContentType: aws.String("application/json"),
			ServerSideEncryption: types.ServerSideEncryption(s.sse), SSEKMSKeyId: s.kmsKey(),
		}, func(o *s3.Options) { o.RetryMaxAttempts = 1 })
		cancel()
		switch st := status(err); {
		case err == nil:
			return nil
		case st == http.StatusPreconditionFailed:
			if unknown && s.holds(ctx, key, data) {
				return nil
			}
			return ErrExists
		case st == http.StatusNotImplemented && condition != nil:
			condition = nil
		case st == http.StatusConflict, st == http.StatusTooManyRequests:
		case st == 0 || st >= 500:
			unknown = true
		default:
			return err
		}
	}
	return err
}

// exists asks for an object's head.
func (s *s3Store) exists(ctx context.Context, c *s3.Client, key string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, s.opts.CallTimeout)
	defer cancel()
	_, err := c.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &s.bucket, Key: aws.String(s.prefix + key)})
	if st := status(err); st == http.StatusNotFound || st == http.StatusForbidden {
		return false, nil // without the right to list, S3 says 403 for "no such object"
	}
	return err == nil, err
}

// holds tells whether the object has exactly this content.
func (s *s3Store) holds(ctx context.Context, key string, data []byte) bool {
	got, err := readAll(ctx, s, key, int64(len(data)))
	return err == nil && bytes.Equal(got, data)
}

// sweep implements sweeper: uploads that were begun and never completed are
// invisible, and paid for.
func (s *s3Store) sweep(ctx context.Context, prefix string, before time.Time) error {
	c, err := s.client(ctx)
	if err != nil {
		return err
	}
	pages := s3.NewListMultipartUploadsPaginator(c, &s3.ListMultipartUploadsInput{Bucket: &s.bucket, Prefix: aws.String(path.Join(s.prefix, prefix) + "/")})
	for pages.HasMorePages() {
		call, cancel := context.WithTimeout(ctx, s.opts.CallTimeout)
		page, err := pages.NextPage(call)
		cancel()
		switch status(err) {
		case http.StatusNotFound, http.StatusNotImplemented, http.StatusForbidden:
			return nil // nothing there, or not for us to look: this is only tidying
		}
		if err != nil {
			return err
		}
		for _, u := range page.Uploads {
			if !aws.ToTime(u.Initiated).Before(before) {
				continue
			}
			call, cancel := context.WithTimeout(ctx, s.opts.CallTimeout)
			_, err := c.AbortMultipartUpload(call, &s3.AbortMultipartUploadInput{Bucket: &s.bucket, Key: u.Key, UploadId: u.UploadId})
			cancel()
			if err != nil && status(err) != http.StatusNotFound {
				return err
			}
		}
	}
	return nil
}
