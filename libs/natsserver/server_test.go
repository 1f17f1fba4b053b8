package natsserver_test

import (
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/freshet-io/freshet/libs/natsserver"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
)

func users() []natsserver.User {
	return []natsserver.User{
		natsserver.All("admin"),
		{
			Name:      "registry",
			Publish:   append(natsserver.ReadStream("LOG"), "freshet.*.registry.>"),
			Subscribe: []string{natsserver.InboxPrefix("registry") + ".>"},
		},
	}
}

func connect(t *testing.T, s *natsserver.Server, user string) (*nats.Conn, jetstream.JetStream) {
	t.Helper()
	nc, err := nats.Connect(s.URL(user), nats.CustomInboxPrefix(natsserver.InboxPrefix(user)), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	require.NoError(t, err)
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	require.NoError(t, err)
	return nc, js
}

func start(t *testing.T, dir string) *natsserver.Server {
	t.Helper()
	s, err := natsserver.Start(natsserver.Options{DataDir: dir, Users: users()})
	require.NoError(t, err)
	t.Cleanup(s.Stop)
	require.NoError(t, s.Healthy())
	return s
}

func TestKeepsTheLogAcrossARestart(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	dir := t.TempDir()
	s := start(t, dir)
	_, js := connect(t, s, "admin")
	_, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "LOG", Subjects: []string{"freshet.>"}})
	require.NoError(t, err)
	for range 10 {
		_, err = js.Publish(ctx, "freshet.default.registry.v1.x", []byte("{}"))
		require.NoError(t, err)
	}
	before := s.URL("registry")
	s.Stop()

	s = start(t, dir)
	_, secretBefore := userOf(t, before)
	_, secretAfter := userOf(t, s.URL("registry"))
	require.Equal(t, secretBefore, secretAfter)
	_, js = connect(t, s, "registry")
	stream, err := js.Stream(ctx, "LOG")
	require.NoError(t, err)
	require.EqualValues(t, 10, stream.CachedInfo().State.Msgs)

	info, err := os.Stat(filepath.Join(dir, "secrets.json"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
}

func TestAUserDoesNoMoreThanItsList(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s := start(t, t.TempDir())
	_, admin := connect(t, s, "admin")
	_, err := admin.CreateStream(ctx, jetstream.StreamConfig{Name: "LOG", Subjects: []string{"freshet.>"}})
	require.NoError(t, err)

	nc, js := connect(t, s, "registry")
	_, err = js.Publish(ctx, "freshet.default.registry.v1.x", []byte("{}"))
	require.NoError(t, err)
	for _, subject := range []string{"freshet.default.training.v1.x", "$JS.API.STREAM.PURGE.LOG", "$JS.API.STREAM.DELETE.LOG"} {
		_, err = nc.Request(subject, nil, 200*time.Millisecond)
		require.Error(t, err, subject)
	}
	_, err = nc.SubscribeSync("_INBOX_admin.>")
	require.NoError(t, err)
	require.NoError(t, nc.Flush())
	require.ErrorIs(t, nc.LastError(), nats.ErrPermissionViolation)
	stream, err := admin.Stream(ctx, "LOG")
	require.NoError(t, err)
	require.EqualValues(t, 1, stream.CachedInfo().State.Msgs)

	_, err = nats.Connect("nats://" + s.Addr())
	require.ErrorIs(t, err, nats.ErrAuthorization)

	cons, err := stream.CreateOrUpdateConsumer(ctx, jetstream.ConsumerConfig{})
	require.NoError(t, err)
	require.NotNil(t, cons)
	own, err := js.OrderedConsumer(ctx, "LOG", jetstream.OrderedConsumerConfig{})
	require.NoError(t, err)
	msg, err := own.Next()
	require.NoError(t, err)
	require.Equal(t, "freshet.default.registry.v1.x", msg.Subject())
}

func userOf(t *testing.T, raw string) (name, secret string) {
	t.Helper()
	u, err := url.Parse(raw)
	require.NoError(t, err)
	secret, _ = u.User.Password()
	require.NotEmpty(t, secret)
	return u.User.Username(), secret
}
