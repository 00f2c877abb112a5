package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager"
	tmtypes "github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

const (
	// s3ChunkBytes is the size of one request of a multipart upload. With two
	// in flight it bounds what an upload holds in memory to about 3 of them,
	// and, as S3 allows 10,000 chunks, an object to 80 GiB.
	s3ChunkBytes = 8 << 20
	// s3Uploads is how many chunks of one object travel at the same time.
	s3Uploads = 2
	// s3AbortTimeout bounds the clean-up of an interrupted upload, which must
	// still be possible when the caller's context has ended.
	s3AbortTimeout = 5 * time.Second
)

// s3Store speaks to any S3-compatible endpoint.
type s3Store struct {
	bucket, prefix   string // prefix is "" or ends with a slash
	endpoint, region string
	pathStyle        bool
	sse, sseKey      string // server-side encryption of new objects: "" as the bucket says, AES256, aws:kms
	opts             StoreOptions

	mu       sync.Mutex
	lazy     *s3.Client // made by the first call, see client
	bucketOK bool       // the bucket exists, or it is not ours to ask
}

// openS3 parses s3://bucket/prefix?endpoint=…&region=…&path-style=true&sse=aws:kms&sse-kms-key=….
func openS3(u *url.URL, opts StoreOptions) (Store, error) {
	q := u.Query()
	if err := checkQuery(q, "endpoint", "region", "path-style", "sse", "sse-kms-key"); err != nil {
		return nil, err
	}
	s := &s3Store{bucket: u.Host, endpoint: q.Get("endpoint"), region: q.Get("region"), opts: opts}
	if s.bucket == "" {
		return nil, errors.New("parse store URL: s3:// names no bucket; " + accepted)
	}
	if p := strings.Trim(u.Path, "/"); p != "" {
		if err := checkKey(p); err != nil {
			return nil, fmt.Errorf("parse store URL: prefix: %w", err)
		}
		s.prefix = p + "/"
	}
	if s.endpoint != "" {
		e, err := url.Parse(s.endpoint)
		if err != nil || e.Scheme != "http" && e.Scheme != "https" || e.Host == "" || e.User != nil {
			return nil, errors.New("parse store URL: endpoint must be http://host:port or https://host:port, without credentials")
		}
		s.pathStyle = true // what servers under one name understand; overridden below
	}
	if v := q.Get("path-style"); v != "" {
		b, err := strconv.ParseBool(v)
		if err != nil {
			return nil, fmt.Errorf("parse store URL: path-style must be true or false, not %q", v)
		}
		s.pathStyle = b
	}
	s.sse, s.sseKey = q.Get("sse"), q.Get("sse-kms-key")
	switch {
	case s.sse != "" && !slices.Contains([]string{"AES256", "aws:kms", "aws:kms:dsse"}, s.sse):
		return nil, fmt.Errorf("parse store URL: sse must be AES256, aws:kms or aws:kms:dsse, not %q", s.sse)
	case s.sseKey != "" && !strings.HasPrefix(s.sse, "aws:kms"):
		return nil, errors.New("parse store URL: sse-kms-key needs sse=aws:kms")
	}
	return s, nil
}

// kmsKey is the key's name for a request, nil for the bucket's own.
func (s *s3Store) kmsKey() *string {
	if s.sseKey == "" {
		return nil
	}
	return &s.sseKey
}

// URL implements Store.
func (s *s3Store) URL() string {
	u := url.URL{Scheme: "s3", Host: s.bucket, Path: "/" + strings.TrimSuffix(s.prefix, "/")}
	q := url.Values{}
	if s.endpoint != "" {
		q.Set("endpoint", s.endpoint)
		q.Set("path-style", strconv.FormatBool(s.pathStyle))
	}
	for name, value := range map[string]string{"region": s.region, "sse": s.sse, "sse-kms-key": s.sseKey} {
		if value != "" {
			q.Set(name, value)
		}
	}
	u.RawQuery = q.Encode()
	return u.String()
}

// Put implements Store as a multipart upload in chunks that the SDK sends
// again, a bounded number of times, when one fails.
func (s *s3Store) Put(ctx context.Context, key string, r io.Reader) error {
	if err := checkKey(key); err != nil {
		return err
	}
	c, err := s.ready(ctx)
	if err != nil {
		return fmt.Errorf("write %s: %w", key, err)
	}
	tm := transfermanager.New(c, func(o *transfermanager.Options) {
		o.PartSizeBytes = s3ChunkBytes
		o.MultipartUploadThreshold = s3ChunkBytes
		o.Concurrency = s3Uploads
		o.FailTimeout = s3AbortTimeout
		o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
	})
	// The reader is hidden so that the size is not guessed by seeking, and ends
	// with the context.
	_, err = tm.UploadObject(ctx, &transfermanager.UploadObjectInput{
		Bucket: &s.bucket, Key: aws.String(s.prefix + key), Body: ctxReader{ctx, r},
		ServerSideEncryption: tmtypes.ServerSideEncryption(s.sse), SSEKMSKeyID: s.kmsKey(),
	})
	if err != nil {
		return fmt.Errorf("write %s: %w", key, err)
	}
	return nil
}

// Get implements Store.
func (s *s3Store) Get(ctx context.Context, key string) (io.ReadCloser, int64, error) {
	if err := checkKey(key); err != nil {
		return nil, 0, err
	}
	c, err := s.client(ctx)
	if err != nil {
		return nil, 0, fmt.Errorf("read %s: %w", key, err)
	}
	out, err := c.GetObject(ctx, &s3.GetObjectInput{Bucket: &s.bucket, Key: aws.String(s.prefix + key)})
	if status(err) == http.StatusNotFound {
		return nil, 0, fmt.Errorf("read %s: %w", key, ErrNotFound)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("read %s: %w", key, err)
	}
	return out.Body, aws.ToInt64(out.ContentLength), nil
}

// List implements Store.
func (s *s3Store) List(ctx context.Context, prefix string) ([]Object, error) {
	c, err := s.client(ctx)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", prefix, err)
	}
	var out []Object
	pages := s3.NewListObjectsV2Paginator(c, &s3.ListObjectsV2Input{Bucket: &s.bucket, Prefix: aws.String(s.prefix + prefix)})
	for pages.HasMorePages() {
		call, cancel := context.WithTimeout(ctx, s.opts.CallTimeout)
		page, err := pages.NextPage(call)
		cancel()
		if status(err) == http.StatusNotFound && s.mayBeMissing() {
			return nil, nil // looking makes no bucket: the first write does
		}
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", prefix, s.named(err))
		}
		for _, o := range page.Contents {
			out = append(out, Object{
				Key:  strings.TrimPrefix(aws.ToString(o.Key), s.prefix),
				Size: aws.ToInt64(o.Size), Modified: aws.ToTime(o.LastModified),
			})
		}
	}
	s.seen()
	sort.Slice(out, func(i, j int) bool { return out[i].Key < out[j].Key })
	return out, nil
}

// Delete implements Store.
func (s *s3Store) Delete(ctx context.Context, key string) error {
	if err := checkKey(key); err != nil {
		return err
	}
	c, err := s.client(ctx)
	if err == nil {
		call, cancel := context.WithTimeout(ctx, s.opts.CallTimeout)
		defer cancel()
		_, err = c.DeleteObject(call, &s3.DeleteObjectInput{Bucket: &s.bucket, Key: aws.String(s.prefix + key)})
	}
	if err != nil && status(err) != http.StatusNotFound {
		return fmt.Errorf("delete %s: %w", key, err)
	}
	return nil
}
