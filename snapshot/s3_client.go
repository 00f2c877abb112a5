package snapshot

import (
	"context"
	"fmt"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go/logging"
)

// client makes the SDK's client at the first call: reading shared files may
// fail, and that must not stop a node from starting.
func (s *s3Store) client(ctx context.Context) (*s3.Client, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lazy != nil {
		return s.lazy, nil
	}
	load := []func(*config.LoadOptions) error{
		config.WithHTTPClient(newHTTPClient(s.opts.Stall, s.opts.roots)),
		config.WithRetryMaxAttempts(s.opts.Attempts),
		config.WithLogger(logging.Nop{}), // a command's stderr is its own; what matters is in the errors
	}
	if s.region != "" {
		load = append(load, config.WithRegion(s.region))
	}
	if s.opts.AccessKey != "" {
		load = append(load, config.WithCredentialsProvider(credentials.NewStaticCredentialsProvider(
			s.opts.AccessKey, s.opts.SecretKey, s.opts.SessionToken)))
	}
	cfg, err := config.LoadDefaultConfig(ctx, load...)
	if err != nil {
		return nil, fmt.Errorf("load S3 settings: %w", err)
	}
	if cfg.Region == "" {
		cfg.Region = "us-east-1" // what servers that know no regions expect
	}
	s.lazy = s3.NewFromConfig(cfg, func(o *s3.Options) {
		o.UsePathStyle = s.pathStyle
		if s.endpoint != "" {
			o.BaseEndpoint = aws.String(s.endpoint)
		}
		// Requests are signed over their SHA-256 anyway, and every part carries
		// a sum of ours: the SDK's additional checksums would only lock out
		// servers that do not know them.
		o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
		o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
	})
	return s.lazy, nil
}

// mayBeMissing says whether a bucket that is not there counts as an empty store:
// for a node that will make it, until it has been seen.
func (s *s3Store) mayBeMissing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.opts.MustExist && !s.bucketOK
}

// seen remembers that the bucket is there.
func (s *s3Store) seen() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bucketOK = true
}

// named says of a missing bucket which one, and at which server.
func (s *s3Store) named(err error) error {
	if status(err) != http.StatusNotFound {
		return err
	}
	where := s.endpoint
	if where == "" {
		where = "AWS"
	}
	return fmt.Errorf("bucket %s at %s %w", s.bucket, where, ErrNoStore)
}

// ready returns the client once the bucket is known to be there, creating it if
// it is missing and we may.
func (s *s3Store) ready(ctx context.Context) (*s3.Client, error) {
	c, err := s.client(ctx)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bucketOK {
		return c, nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.opts.CallTimeout)
	defer cancel()
	_, err = c.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: &s.bucket})
	switch status(err) {
	case http.StatusNotFound:
		if s.opts.MustExist {
			return nil, s.named(err)
		}
		if err := s.createBucket(ctx, c); err != nil {
			return nil, err
		}
	case http.StatusForbidden:
		// We may not look, which says nothing about reading and writing in it.
	default:
		if err != nil {
			return nil, fmt.Errorf("look for bucket %s: %w", s.bucket, err)
		}
	}
	s.bucketOK = true
	return c, nil
}

// createBucket tries once; another node that was quicker is no error.
func (s *s3Store) createBucket(ctx context.Context, c *s3.Client) error {
	in := &s3.CreateBucketInput{Bucket: &s.bucket}
	if r := c.Options().Region; r != "us-east-1" {
		in.CreateBucketConfiguration = &types.CreateBucketConfiguration{LocationConstraint: types.BucketLocationConstraint(r)}
	}
	_, err := c.CreateBucket(ctx, in)
	if code(err) == "BucketAlreadyOwnedByYou" || code(err) == "BucketAlreadyExists" {
		return nil
	}
	if err != nil {
		return fmt.Errorf("bucket %s does not exist and cannot be created with these credentials; create it, or name another: %w", s.bucket, err)
	}
	return nil
}
