package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestHealthcheckAsksTheNodeNextToIt(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/livez" {
			_, _ = w.Write([]byte("{\"ok\":true}\n"))
			return
		}
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = w.Write([]byte(`{"error":"node1 is not the primary"}`))
	}))
	addr := srv.Listener.Addr().String()
	code, out, errs := call(t, "healthcheck", "--http", addr)
	require.Zero(t, code, errs)
	require.Contains(t, out, `"ok":true`)
	code, _, errs = call(t, "healthcheck", "primary", "--http", addr)
	require.Equal(t, 1, code)
	require.Contains(t, errs, "/primary answers 503")
	require.Contains(t, errs, "node1 is not the primary")
	code, out, errs = call(t, "healthcheck", "primary", "--http", addr, "-o", "json")
	require.Equal(t, 1, code)
	require.Contains(t, errs, "/primary answers 503")
	var found finding
	require.NoError(t, json.Unmarshal([]byte(out), &found))
	require.Equal(t, http.StatusServiceUnavailable, found.Status)
	require.False(t, found.OK)
	require.JSONEq(t, `{"error":"node1 is not the primary"}`, string(found.Answer))
	code, out, _ = call(t, "healthcheck", "--http", addr, "-o", "json")
	require.Zero(t, code)
	require.JSONEq(t, `{"check":"livez","address":"`+addr+`","ok":true,"status":200,"answer":{"ok":true}}`, out)
	srv.Close()
	code, out, _ = call(t, "healthcheck", "--http", addr, "-o", "json")
	require.Equal(t, 1, code)
	require.Contains(t, out, "the node does not answer: ")
	code, _, errs = call(t, "healthcheck", "--http", addr)
	require.Equal(t, 1, code)
	require.Contains(t, errs, "the node does not answer: ")

	for given, want := range map[healthcheck]string{
		{HTTP: ":3308", Bind: "*"}:              "127.0.0.1:3308",
		{HTTP: ":3308", Bind: "10.0.0.1"}:       "10.0.0.1:3308",
		{HTTP: "0.0.0.0:9", Bind: "10.0.0.1"}:   "127.0.0.1:9",
		{HTTP: "[::]:9", Bind: "*"}:             "127.0.0.1:9",
		{HTTP: "10.2.2.2:9", Bind: "127.0.0.1"}: "10.2.2.2:9",
	} {
		require.Equal(t, want, given.address())
	}
}
