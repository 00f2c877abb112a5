// Command example is what an application next to the cluster looks like: it finds the writable server through Consul,
// follows it when it moves, and never takes an unanswered commit for a failed one.
//
//	GET /check   every acknowledged write is read back from the primary: {"acknowledged":…,"missing":…,…}
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// Times of the application.
const (
	writeTimeout = 2 * time.Second        // one attempt to write, connecting included
	pause        = 20 * time.Millisecond  // between two writes
	retryPause   = 100 * time.Millisecond // after an attempt that failed
	reportEvery  = 5 * time.Second
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context) error {
	user, password, database := os.Getenv("MYSQL_USER"), os.Getenv("MYSQL_PASSWORD"), os.Getenv("MYSQL_DATABASE")
	if user == "" || database == "" {
		return errors.New("set MYSQL_USER, MYSQL_PASSWORD and MYSQL_DATABASE")
	}
	found := newFinder(env("CONSUL_HTTP_ADDR", "127.0.0.1:8500"), env("SERVICE_NAME", "mysql-primary"))
	go found.run(ctx)
	w, err := newWriter(found, user, password, database)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /check", func(rw http.ResponseWriter, r *http.Request) {
		res, err := w.check(r.Context())
		if err != nil {
			http.Error(rw, err.Error(), http.StatusServiceUnavailable)
			return
		}
		_ = json.NewEncoder(rw).Encode(res)
	})
	srv := &http.Server{Addr: env("LISTEN", ":8080"), Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() {
		if err := srv.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
			log.Print(err)
		}
	}()
	defer srv.Close()
	go w.report(ctx)
	w.run(ctx)
	fmt.Println(w.line())
	return nil
}

func env(name, def string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return def
}
