package suite

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/freshet-io/freshet/libs/objects"
	"github.com/freshet-io/freshet/libs/service"
	"github.com/freshet-io/freshet/libs/web"
)

// TokenFile is in a data directory what lets in who has it.
const TokenFile = "token"

// Objects opens the suite's objects.
func (s *Suite) Objects(ctx context.Context) (*objects.Store, error) {
	return objects.Open(ctx, s.infra.objects())
}

// gate lets in who has the token; everybody where there is none.
func gate(token string) web.Gate {
	if token == "" {
		return web.Open{}
	}
	return web.Token(token)
}

// tokenFor is a data directory's token, made the first time; empty where everybody is
// let in.
func tokenFor(auth, dir string) (string, error) {
	if err := service.CheckAuth(auth); err != nil {
		return "", err
	}
	if auth == service.AuthNone {
		return "", nil
	}
	path := filepath.Join(dir, TokenFile)
	token, err := ReadToken(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return token, err
	}
	if err := os.MkdirAll(dir, 0o711); err != nil { //nolint:gosec // as lockDir makes it: PostgreSQL's user passes through
		return "", err
	}
	token = rand.Text()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return "", fmt.Errorf("the token: %w", err)
	}
	_, err = f.WriteString(token + "\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return "", errors.Join(fmt.Errorf("the token: %w", err), os.Remove(path))
	}
	return token, nil
}

// ReadToken reads a token's file. One that others may read is refused: who has read it
// may do everything.
func ReadToken(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("the token: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return "", fmt.Errorf("the token %s may be read by others (%s): remove the file for a new one, or chmod 600 it if nobody has read it",
			path, info.Mode().Perm())
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("the token: %w", err)
	}
	token := strings.TrimSpace(string(b))
	if token == "" {
		return "", fmt.Errorf("the token %s is empty: remove the file, and the next start makes a new one", path)
	}
	return token, nil
}

// publish writes what clients outside need, for the owner's eyes only: where everything
// listens, and what lets them in.
func (i *Infrastructure) publish(l net.Listener, token string, services map[string]int) error {
	if addr, ok := l.Addr().(*net.TCPAddr); ok {
		i.ports.HTTP, i.ports.Services = addr.Port, services
	}
	if err := i.ports.write(i.dir); err != nil {
		return err
	}
	dir := filepath.Join(i.dir, "clients")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	at, err := url.Parse(i.nats.URL(producerUser))
	if err != nil {
		return fmt.Errorf("the producers' NATS user: %w", err)
	}
	password, _ := at.User.Password()
	producer, err := json.MarshalIndent(map[string]string{ // a context of the nats command line
		"description": "Freshet's producers: publish to freshet-in.<namespace>.…", "url": "nats://" + at.Host,
		"user": at.User.Username(), "password": password,
	}, "", "  ")
	if err != nil {
		return err
	}
	environment := "export FRESHET_URL=http://" + l.Addr().String() + "\n"
	if token != "" {
		environment += "export FRESHET_TOKEN=" + token + "\nexport MLFLOW_TRACKING_TOKEN=" + token + "\n"
	}
	for name, content := range map[string]string{
		"nats.json":        string(producer) + "\n",
		"kafka.properties": "bootstrap.servers=" + i.kafka.Addr() + "\n",
		"environment":      environment,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			return err
		}
	}
	return nil
}
