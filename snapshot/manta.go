package snapshot

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"strings"
	"sync"
	"time"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"golang.org/x/crypto/ssh"
)

// MantaOptions are what a manta: store needs beside its URL.
type MantaOptions struct {
	// Endpoint is the service, https://host.
	Endpoint string
	// User is the account; empty: the first element of the store's path.
	// Subuser signs in its name, Role is asked to act in.
	User, Subuser, Role string
	// KeyID is the MD5 fingerprint of the key; empty: computed.
	KeyID string
	// Key is the private key as PEM, RSA or ECDSA. A '#' may stand for a line
	// break, as the predecessor wanted it.
	Key string
	// Insecure does not verify the service's certificate.
	Insecure bool
}

// mantaStore speaks Manta's directory API and signs every request.
type mantaStore struct {
	endpoint *url.URL
	root     string // path of the store, without a final slash
	account  string
	keyID    string // as in the Authorization header
	role     string
	signer   signer
	http     *awshttp.BuildableClient
	opts     StoreOptions

	mu   sync.Mutex
	dirs map[string]bool // directories known to exist
}

// openManta parses manta:///account/stor/dir.
func openManta(u *url.URL, opts StoreOptions) (Store, error) {
	o := opts.Manta
	if u.Host != "" {
		return nil, fmt.Errorf("parse store URL: manta: takes a path with three slashes, not the host %q; %s", u.Host, accepted)
	}
	if err := checkQuery(u.Query()); err != nil {
		return nil, err
	}
	root := path.Clean("/" + strings.Trim(u.Path, "/"))
	parts := strings.Split(strings.TrimPrefix(root, "/"), "/")
	if len(parts) < 2 || parts[1] != "stor" && parts[1] != "public" {
		return nil, fmt.Errorf("parse store URL: manta: needs /account/stor/…, not %q; %s", root, accepted)
	}
	s := &mantaStore{root: root, account: o.User, role: o.Role, opts: opts, dirs: map[string]bool{}}
	if s.account == "" {
		s.account = parts[0]
	}
	var err error
	if s.endpoint, err = url.Parse(strings.TrimSuffix(o.Endpoint, "/")); err != nil || s.endpoint.Host == "" || s.endpoint.User != nil {
		return nil, errors.New("open Manta store: the endpoint must be https://host, without credentials")
	}
	if s.signer, err = newSigner(o.Key); err != nil {
		return nil, fmt.Errorf("open Manta store: %w", err)
	}
	fingerprint := o.KeyID
	if fingerprint == "" {
		fingerprint = s.signer.fingerprint
	} else if strings.Count(fingerprint, ":") == 15 && !strings.EqualFold(fingerprint, s.signer.fingerprint) {
		return nil, fmt.Errorf("open Manta store: the key id %s is not that of the private key, which is %s", fingerprint, s.signer.fingerprint)
	}
	s.keyID = "/" + s.account
	if o.Subuser != "" {
		s.keyID += "/" + o.Subuser
	}
	s.keyID += "/keys/" + fingerprint
	s.http = newHTTPClient(opts.Stall, opts.roots)
	if o.Insecure {
		s.http = s.http.WithTransportOptions(func(t *http.Transport) {
			t.TLSClientConfig = &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12} //nolint:gosec // the operator asked for it
		})
	}
	return s, nil
}

// signer signs with a private key.
type signer struct {
	key         crypto.Signer
	algorithm   string
	fingerprint string // MD5 of the public key, as Manta names keys
}

// newSigner reads a PEM key. Errors do not repeat it.
func newSigner(text string) (signer, error) {
	if !strings.Contains(strings.TrimSpace(text), "\n") {
		text = strings.ReplaceAll(text, "#", "\n")
	}
	raw, err := ssh.ParseRawPrivateKey([]byte(strings.TrimSpace(text) + "\n"))
	if err != nil {
		return signer{}, errors.New("the private key is not a PEM key without a passphrase")
	}
	s := signer{}
	switch k := raw.(type) {
	case *rsa.PrivateKey:
		s.key, s.algorithm = k, "rsa-sha256"
	case *ecdsa.PrivateKey:
		s.key, s.algorithm = k, "ecdsa-sha256"
	default:
		return signer{}, errors.New("the private key is neither RSA nor ECDSA")
	}
	pub, err := ssh.NewPublicKey(s.key.Public())
	if err != nil {
		return signer{}, errors.New("the private key has no public key that SSH knows")
	}
	s.fingerprint = ssh.FingerprintLegacyMD5(pub)
	return s, nil
}

// sign adds the date and the signature over it.
func (s *mantaStore) sign(r *http.Request) error {
	date := time.Now().UTC().Format(http.TimeFormat)
	sum := sha256.Sum256([]byte("date: " + date))
	sig, err := s.signer.key.Sign(rand.Reader, sum[:], crypto.SHA256)
	if err != nil {
		return fmt.Errorf("sign request: %w", err)
	}
	r.Header.Set("Date", date)
	r.Header.Set("Authorization", fmt.Sprintf(`Signature keyId="%s",algorithm="%s",headers="date",signature="%s"`,
		s.keyID, s.signer.algorithm, base64.StdEncoding.EncodeToString(sig)))
	if s.role != "" {
		r.Header.Set("Role", s.role)
	}
	return nil
}

// mantaRequest is one exchange; body is sent anew with every attempt.
type mantaRequest struct {
	method, path string // absolute path
	query        url.Values
	header       map[string]string
	body         []byte
	once         bool // not to be repeated when the outcome is unknown
}

// mantaError is an answer that says no.
type mantaError struct {
	Status  int
	Code    string `json:"code"`
	Message string `json:"message"`
}

// Error implements error.
func (e *mantaError) Error() string {
	return strings.TrimSpace(fmt.Sprintf("status %d %s %s", e.Status, e.Code, e.Message))
}

// HTTPStatusCode is what status looks for.
func (e *mantaError) HTTPStatusCode() int { return e.Status }

// ErrorCode is what code looks for.
func (e *mantaError) ErrorCode() string { return e.Code }

// do sends a request, again after failures that a repetition may cure, and
// returns the answer, whose body the caller closes.
func (s *mantaStore) do(ctx context.Context, q mantaRequest) (*http.Response, error) {
	for try := 1; ; try++ {
		resp, err := s.send(ctx, q)
		st := status(err)
		if err == nil || ctx.Err() != nil || try >= s.opts.Attempts || q.once && st == 0 ||
			st != 0 && st < 500 && st != http.StatusTooManyRequests && st != http.StatusConflict {
			return resp, err
		}
		if e := pause(ctx, try); e != nil {
			return nil, errors.Join(e, err)
		}
	}
}

// send sends a request once.
func (s *mantaStore) send(ctx context.Context, q mantaRequest) (*http.Response, error) {
	u := *s.endpoint
	u.Path, u.RawQuery = u.Path+q.path, q.query.Encode()
	var body io.Reader
	if q.body != nil {
		body = strings.NewReader(string(q.body))
	}
	r, err := http.NewRequestWithContext(ctx, q.method, u.String(), body)
	if err != nil {
		return nil, err
	}
	for name, value := range q.header {
		r.Header.Set(name, value)
	}
	if err := s.sign(r); err != nil {
		return nil, err
	}
	resp, err := s.http.Do(r)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode < 300 {
		return resp, nil
	}
	defer resp.Body.Close()
	e := &mantaError{}
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	_ = json.Unmarshal(text, e) // an answer without JSON has its status
	e.Status = resp.StatusCode
	return nil, e
}

// call is do for requests whose answer has no content of interest, within the
// time for calls that move no stream.
func (s *mantaStore) call(ctx context.Context, q mantaRequest) error {
	ctx, cancel := context.WithTimeout(ctx, s.opts.CallTimeout)
	defer cancel()
	resp, err := s.do(ctx, q)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}
