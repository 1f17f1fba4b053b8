package web

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"syscall"
	"time"
)

// Listen listens on an address: on loopback only where the gate lets in everybody.
func Listen(addr string, gate Gate) (net.Listener, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("listen address %q: use host:port, such as 127.0.0.1:8080", addr)
	}
	if _, open := gate.(Open); open && !loopback(host) {
		return nil, fmt.Errorf("refusing to listen on %s: without authentication only loopback addresses are served (127.0.0.1, [::1], localhost); "+
			"use --auth token", addr)
	}
	l, err := net.Listen("tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("%s is in use: stop what runs there, or use --listen with another address (port 0 for any free one)", addr)
	}
	if err != nil {
		return nil, fmt.Errorf("listening on %s: %w", addr, err)
	}
	return l, nil
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// Guard keeps web pages of other sites out: it refuses unsafe requests that a browser
// sends from another origin and, at a loopback address, requests for another host (DNS
// rebinding).
func Guard(at net.Addr, h http.Handler) http.Handler {
	origin := http.NewCrossOriginProtection()
	origin.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		Problem(w, http.StatusForbidden, "Foreign origin", "a page of another site may not change anything here")
	}))
	h = origin.Handler(h)
	if host, _, err := net.SplitHostPort(at.String()); err != nil || !loopback(host) {
		return h
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = r.Host
		}
		if len(host) > 2 && host[0] == '[' {
			host = host[1 : len(host)-1]
		}
		if !loopback(host) {
			Problem(w, http.StatusMisdirectedRequest, "Foreign host", "this listener serves localhost and loopback addresses only")
			return
		}
		h.ServeHTTP(w, r)
	})
}

// Server serves a handler until it is stopped. The requests' contexts end when
// stopping begins, so that event streams do not hold it up.
type Server struct {
	http   *http.Server
	cancel context.CancelFunc
	done   chan error
}

// Serve serves h on l.
func Serve(l net.Listener, h http.Handler) *Server {
	ctx, cancel := context.WithCancel(context.Background())
	s := &Server{
		http: &http.Server{
			Handler:           h,
			ReadHeaderTimeout: 10 * time.Second,
			IdleTimeout:       2 * time.Minute,
			MaxHeaderBytes:    64 << 10,
			BaseContext:       func(net.Listener) context.Context { return ctx },
		},
		cancel: cancel,
		done:   make(chan error, 1),
	}
	go func() { s.done <- s.http.Serve(l) }()
	return s
}

// Stop stops listening, lets requests end until ctx does, and cuts the rest.
func (s *Server) Stop(ctx context.Context) error {
	s.cancel()
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, s.http.Close())
	}
	if served := <-s.done; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}
