package mantatest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"path"
	"strconv"
	"strings"
	"time"
)

// The rules of multipart uploads.
const (
	minPart  = 5 << 20
	maxParts = 800
)

// upload is a multipart upload.
type upload struct {
	id, target string
	state      string // created, committed, aborted
	created    time.Time
	committed  string // the parts it was committed with
}

func (s *Server) beginUpload(w http.ResponseWriter, p string, body []byte) *refusal {
	var in struct {
		ObjectPath string            `json:"objectPath"`
		Headers    map[string]string `json:"headers"`
	}
	if err := json.Unmarshal(body, &in); err != nil || !strings.HasPrefix(in.ObjectPath, "/"+s.Account+"/stor/") {
		return refuse(409, "MultipartUploadInvalidArgumentError", "objectPath is %q", in.ObjectPath)
	}
	for h := range in.Headers {
		if strings.HasPrefix(strings.ToLower(h), "if-") {
			return refuse(409, "MultipartUploadInvalidArgumentError", "%s is not supported", h)
		}
	}
	if dir := s.nodes[path.Dir(in.ObjectPath)]; dir == nil || !dir.dir {
		return refuse(404, "DirectoryDoesNotExistError", "%s does not exist", path.Dir(in.ObjectPath))
	}
	s.count++
	u := &upload{id: fmt.Sprintf("%08x-0000-4000-8000-%012x", s.count*7919, s.count), target: in.ObjectPath, state: "created", created: time.Now()}
	dir := p + "/" + u.id[:3]
	s.nodes[dir] = &node{dir: true, mtime: time.Now()}
	dir += "/" + u.id
	s.nodes[dir] = &node{dir: true, mtime: time.Now()}
	s.uploads[dir] = u
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	_ = json.NewEncoder(w).Encode(map[string]string{"id": u.id, "partsDirectory": dir})
	return nil
}

// uploadRequest is everything below an upload's directory.
func (s *Server) uploadRequest(w http.ResponseWriter, r *http.Request, p string, body []byte) *refusal {
	dir, last := path.Dir(p), path.Base(p)
	u := s.uploads[dir]
	if u == nil {
		return refuse(404, "ResourceNotFoundError", "%s was not found", dir)
	}
	switch {
	case r.Method == http.MethodGet && last == "state":
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"id": u.id, "state": u.state, "targetObject": u.target, "creationTimeMs": u.created.UnixMilli()})
		return nil
	case r.Method == http.MethodPost && last == "commit":
		return s.commit(w, u, dir, body)
	case r.Method == http.MethodPost && last == "abort":
		if u.state == "committed" {
			return refuse(409, "InvalidMultipartUploadStateError", "it is committed")
		}
		s.endUpload(u, dir, "aborted")
		w.WriteHeader(http.StatusNoContent)
		return nil
	case r.Method == http.MethodPut:
		return s.putPart(w, r, u, p, body)
	}
	return refuse(405, "MethodNotAllowedError", "%s %s", r.Method, p)
}

func (s *Server) putPart(w http.ResponseWriter, r *http.Request, u *upload, p string, body []byte) *refusal {
	n, err := strconv.Atoi(path.Base(p))
	switch {
	case err != nil || n < 0 || n >= maxParts:
		return refuse(409, "MultipartUploadInvalidArgumentError", "part %s is not 0 to %d", path.Base(p), maxParts-1)
	case u.state != "created":
		return refuse(409, "InvalidMultipartUploadStateError", "it is %s", u.state)
	case r.Header.Get("If-None-Match") != "" || r.Header.Get("If-Match") != "":
		return refuse(400, "InvalidArgumentError", "parts take no conditions")
	}
	s.store(w, p, body)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Server) commit(w http.ResponseWriter, u *upload, dir string, body []byte) *refusal {
	var in struct {
		Parts []string `json:"parts"`
	}
	if err := json.Unmarshal(body, &in); err != nil {
		return refuse(409, "MultipartUploadInvalidArgumentError", "no list of parts")
	}
	switch {
	case u.state == "committed" && u.committed == strings.Join(in.Parts, " "):
		w.WriteHeader(http.StatusCreated) // again
		return nil
	case u.state != "created":
		return refuse(409, "InvalidMultipartUploadStateError", "it is %s", u.state)
	}
	var whole []byte
	for i, etag := range in.Parts {
		part := s.nodes[dir+"/"+strconv.Itoa(i)]
		if part == nil || part.etag != etag {
			return refuse(409, "MultipartUploadInvalidArgumentError", "part %d is missing or has another etag", i)
		}
		if i < len(in.Parts)-1 && len(part.data) < minPart {
			return refuse(409, "MultipartUploadInvalidArgumentError", "part %d has %d bytes, too few for any but the last", i, len(part.data))
		}
		whole = append(whole, part.data...)
	}
	if parent := s.nodes[path.Dir(u.target)]; parent == nil || !parent.dir {
		return refuse(404, "DirectoryDoesNotExistError", "%s does not exist", path.Dir(u.target))
	}
	s.store(w, u.target, whole)
	u.committed = strings.Join(in.Parts, " ")
	s.endUpload(u, dir, "committed")
	w.Header().Set("Location", u.target)
	w.WriteHeader(http.StatusCreated)
	return nil
}

// endUpload removes the parts; the state stays known.
func (s *Server) endUpload(u *upload, dir, state string) {
	u.state = state
	for at := range s.nodes {
		if path.Dir(at) == dir {
			delete(s.nodes, at)
		}
	}
	delete(s.nodes, dir)
}

// Uploads counts those that were begun and neither committed nor aborted.
func (s *Server) Uploads() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, u := range s.uploads {
		if u.state == "created" {
			n++
		}
	}
	return n
}
