// Package mantatest is a stand-in for Manta's storage service for tests: strict where the service is, so that a client
// that gets along with it obeys the rules. It verifies the signature and the date of every request, knows that an
// object's directory must exist, and keeps the rules of multipart uploads. Faults are put in front of it, not into it.
package mantatest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/md5"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Server is the service of one account. It is an http.Handler.
type Server struct {
	// Account, Subuser and KeyID are who may sign, with which key.
	Account, Subuser, KeyID string
	Key                     crypto.PublicKey
	// Role, if set, must be asked for.
	Role string

	mu      sync.Mutex
	nodes   map[string]*node // by absolute path
	uploads map[string]*upload
	count   int
}

// node is a directory or an object.
type node struct {
	dir   bool
	data  []byte
	etag  string
	mtime time.Time
}

// New makes an empty account.
func New(account, subuser, keyID string, key crypto.PublicKey) *Server {
	s := &Server{Account: account, Subuser: subuser, KeyID: keyID, Key: key, nodes: map[string]*node{}, uploads: map[string]*upload{}}
	for _, dir := range []string{"/" + account, "/" + account + "/stor", "/" + account + "/uploads"} {
		s.nodes[dir] = &node{dir: true, mtime: time.Now()}
	}
	return s
}

// refusal is an answer with an error.
type refusal struct {
	status        int
	code, message string
}

func refuse(status int, code, format string, args ...any) *refusal {
	return &refusal{status, code, fmt.Sprintf(format, args...)}
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client went away in the middle: nothing happened
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	no := s.authorise(r)
	if no == nil && r.ContentLength >= 0 && int64(len(body)) != r.ContentLength {
		no = refuse(400, "ContentLengthError", "%d bytes announced, %d came", r.ContentLength, len(body))
	}
	if no == nil {
		no = checkMD5(r, body)
	}
	if no == nil {
		no = s.route(w, r, path.Clean(r.URL.Path), body)
	}
	if no != nil {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(no.status)
		_ = json.NewEncoder(w).Encode(map[string]string{"code": no.code, "message": no.message})
	}
}

var authorization = regexp.MustCompile(`^Signature keyId="([^"]+)",algorithm="([^"]+)",(?:headers="([^"]*)",)?signature="([^"]+)"$`)

// authorise verifies who sent the request, and when.
func (s *Server) authorise(r *http.Request) *refusal {
	m := authorization.FindStringSubmatch(r.Header.Get("Authorization"))
	if m == nil {
		return refuse(401, "AuthSchemeError", "%q is no signature", r.Header.Get("Authorization"))
	}
	want := "/" + s.Account
	if s.Subuser != "" {
		want += "/" + s.Subuser
	}
	if want += "/keys/" + s.KeyID; m[1] != want {
		return refuse(403, "KeyDoesNotExistError", "%s is not %s", m[1], want)
	}
	at, err := http.ParseTime(r.Header.Get("Date"))
	if err != nil || time.Since(at).Abs() > 300*time.Second {
		return refuse(400, "InvalidHeaderError", "date %q is not of now", r.Header.Get("Date"))
	}
	if m[3] != "" && m[3] != "date" {
		return refuse(401, "InvalidSignatureError", "only the date is signed here, not %q", m[3])
	}
	sig, err := base64.StdEncoding.DecodeString(m[4])
	sum := sha256.Sum256([]byte("date: " + r.Header.Get("Date")))
	valid := false
	switch k := s.Key.(type) {
	case *rsa.PublicKey:
		valid = m[2] == "rsa-sha256" && rsa.VerifyPKCS1v15(k, crypto.SHA256, sum[:], sig) == nil
	case *ecdsa.PublicKey:
		valid = m[2] == "ecdsa-sha256" && ecdsa.VerifyASN1(k, sum[:], sig)
	}
	if err != nil || !valid {
		return refuse(403, "InvalidSignatureError", "the signature does not fit the key")
	}
	if s.Role != "" && r.Header.Get("Role") != s.Role {
		return refuse(403, "InvalidRoleError", "role %q is not enough", r.Header.Get("Role"))
	}
	return nil
}

func checkMD5(r *http.Request, body []byte) *refusal {
	want := r.Header.Get("Content-MD5")
	sum := md5.Sum(body)
	if got := base64.StdEncoding.EncodeToString(sum[:]); want != "" && want != got {
		return refuse(400, "ContentMD5MismatchError", "%s announced, %s came", want, got)
	}
	return nil
}

func (s *Server) route(w http.ResponseWriter, r *http.Request, p string, body []byte) *refusal {
	switch {
	case p == "/"+s.Account+"/uploads" && r.Method == http.MethodPost:
		return s.beginUpload(w, p, body)
	case strings.HasPrefix(p, "/"+s.Account+"/uploads/") && r.Method != http.MethodGet || strings.HasSuffix(p, "/state") && strings.Contains(p, "/uploads/"):
		return s.uploadRequest(w, r, p, body)
	case !strings.HasPrefix(p, "/"+s.Account+"/stor/") && p != "/"+s.Account+"/stor" && !strings.HasPrefix(p, "/"+s.Account+"/uploads"):
		return refuse(403, "AuthorizationFailed", "%s is not allowed here", p)
	}
	switch r.Method {
	case http.MethodPut:
		return s.put(w, r, p, body)
	case http.MethodGet:
		return s.get(w, r, p)
	case http.MethodDelete:
		return s.delete(w, p)
	}
	return refuse(405, "MethodNotAllowedError", "%s", r.Method)
}

func (s *Server) put(w http.ResponseWriter, r *http.Request, p string, body []byte) *refusal {
	parent, old := s.nodes[path.Dir(p)], s.nodes[p]
	switch {
	case p == "/"+s.Account+"/stor":
		return refuse(400, "RootDirectoryError", "%s is there", p)
	case parent == nil:
		return refuse(404, "DirectoryDoesNotExistError", "%s does not exist", path.Dir(p))
	case !parent.dir:
		return refuse(400, "ParentNotDirectoryError", "%s is an object", path.Dir(p))
	}
	if strings.ReplaceAll(r.Header.Get("Content-Type"), " ", "") == "application/json;type=directory" {
		if old == nil {
			s.nodes[p] = &node{dir: true, mtime: time.Now()}
		}
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	if old != nil && old.dir {
		return refuse(400, "OperationNotAllowedOnDirectory", "%s is a directory", p)
	}
	switch cond := r.Header.Get("If-None-Match"); {
	case cond == "*" && old != nil:
		return refuse(412, "PreconditionFailedError", "%s exists", p)
	case cond != "" && cond != "*":
		return refuse(400, "InvalidArgumentError", "not a condition this stand-in knows: %s", cond)
	}
	s.store(w, p, body)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Server) store(w http.ResponseWriter, p string, body []byte) {
	s.count++
	n := &node{data: body, etag: fmt.Sprintf("etag-%d", s.count), mtime: time.Now()}
	s.nodes[p] = n
	sum := md5.Sum(body)
	w.Header().Set("Etag", n.etag)
	w.Header().Set("Computed-MD5", base64.StdEncoding.EncodeToString(sum[:]))
}

func (s *Server) get(w http.ResponseWriter, r *http.Request, p string) *refusal {
	n := s.nodes[p]
	if n == nil {
		return refuse(404, "ResourceNotFoundError", "%s was not found", p)
	}
	if n.dir {
		return s.list(w, r, p)
	}
	sum := md5.Sum(n.data)
	w.Header().Set("Content-MD5", base64.StdEncoding.EncodeToString(sum[:]))
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.Itoa(len(n.data)))
	w.Header().Set("Etag", n.etag)
	_, _ = w.Write(n.data)
	return nil
}

// list answers with one page of a directory. It begins with the marker itself.
func (s *Server) list(w http.ResponseWriter, r *http.Request, p string) *refusal {
	limit := 256
	if text := r.URL.Query().Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > 1000 {
			return refuse(400, "InvalidLimitError", "%s is not 1 to 1000", text)
		}
		limit = n
	}
	var names []string
	for at := range s.nodes {
		if path.Dir(at) == p {
			names = append(names, path.Base(at))
		}
	}
	slices.Sort(names)
	w.Header().Set("Content-Type", "application/x-json-stream; type=directory")
	w.Header().Set("Result-Set-Size", strconv.Itoa(len(names)))
	out := json.NewEncoder(w)
	for _, name := range names {
		if name < r.URL.Query().Get("marker") || limit == 0 {
			continue
		}
		limit--
		n := s.nodes[p+"/"+name]
		entry := map[string]any{"name": name, "mtime": n.mtime.UTC().Format("2006-01-02T15:04:05.000Z")}
		if n.dir {
			entry["type"] = "directory"
		} else {
			entry["type"], entry["etag"], entry["size"] = "object", n.etag, len(n.data)
		}
		_ = out.Encode(entry)
	}
	return nil
}

func (s *Server) delete(w http.ResponseWriter, p string) *refusal {
	n := s.nodes[p]
	if n == nil {
		return refuse(404, "ResourceNotFoundError", "%s was not found", p)
	}
	for at := range s.nodes {
		if n.dir && path.Dir(at) == p {
			return refuse(400, "DirectoryNotEmptyError", "%s is not empty", p)
		}
	}
	delete(s.nodes, p)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// Paths lists everything below a directory, directories with a final slash.
func (s *Server) Paths(below string) (out []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for at, n := range s.nodes {
		if strings.HasPrefix(at, below+"/") {
			if n.dir {
				at += "/"
			}
			out = append(out, at)
		}
	}
	slices.Sort(out)
	return out
}
