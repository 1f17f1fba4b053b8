package chaos

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
)

// A link is what the services' connections to one server go through.
type link struct {
	name, listen, upstream string
	server                 *toxiproxy.ApiServer
	proxy                  *toxiproxy.Proxy
}

func newLinks() *toxiproxy.ApiServer {
	return toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.New(io.Discard))
}

func newLink(server *toxiproxy.ApiServer, name, listen, upstream string) (*link, error) {
	l := &link{name: name, listen: listen, upstream: upstream, server: server}
	if err := l.start(); err != nil {
		return nil, err
	}
	return l, nil
}

func (l *link) start() error {
	l.proxy = toxiproxy.NewProxy(l.server, l.name, l.listen, l.upstream)
	if err := l.proxy.Start(); err != nil {
		return fmt.Errorf("the link to %s: %w", l.name, err)
	}
	return nil
}

// slow delays everything by so many milliseconds, give or take a jitter.
func (l *link) slow(ms, jitter int) error {
	for _, stream := range []string{"upstream", "downstream"} {
		if err := l.toxic("latency", stream, map[string]any{"latency": ms, "jitter": jitter}); err != nil {
			return err
		}
	}
	return nil
}

// blackHole lets nothing through and says nothing: connections stay open.
func (l *link) blackHole() error {
	for _, stream := range []string{"upstream", "downstream"} {
		if err := l.toxic("timeout", stream, map[string]any{"timeout": 0}); err != nil {
			return err
		}
	}
	return nil
}

// drop lets requests through and loses the answers.
func (l *link) drop() error {
	return l.toxic("timeout", "downstream", map[string]any{"timeout": 0})
}

// cut closes all connections and takes no new ones.
func (l *link) cut() { l.proxy.Stop() }

// repair undoes everything. Connections that a black hole has swallowed are closed, as a
// peer's reset would after an outage. The proxy is a new one: an old one that is to
// forget what it does to connections waits, some of the times for ever, for those that
// are closed meanwhile.
func (l *link) repair() error {
	l.cut()
	return l.start()
}

func (l *link) toxic(kind, stream string, attributes map[string]any) error {
	b, err := json.Marshal(map[string]any{"name": kind + "-" + stream, "type": kind, "stream": stream, "toxicity": 1.0, "attributes": attributes})
	if err != nil {
		return err
	}
	_, err = l.proxy.Toxics.AddToxicJson(bytes.NewReader(b))
	return err
}
