package testkit_test

import (
	"context"
	"encoding/binary"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/freshet-io/freshet/libs/natsserver"
	"github.com/freshet-io/freshet/libs/testkit"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
)

// A store that could not write stays so when there is room again, until its server
// is started anew: which it does by itself, and clients come back.
func TestALogWhoseDiskWasFullRecoversItself(t *testing.T) {
	t.Parallel()
	if !testkit.OwnMounts(t) {
		return
	}
	ctx := t.Context()
	dir := filepath.Join(t.TempDir(), "nats")
	disk := testkit.Disk(t, dir)
	says := make(lines, 1000)
	s, err := natsserver.Start(natsserver.Options{DataDir: dir, Users: []natsserver.User{natsserver.All("test")},
		Logger: slog.New(slog.NewTextHandler(says, nil))})
	require.NoError(t, err)
	t.Cleanup(s.Stop)
	url, addr := s.URL("test"), s.Addr()
	used, limit, err := s.Store()
	require.NoError(t, err)
	require.Zero(t, used)
	nc, err := nats.Connect(url, nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond))
	require.NoError(t, err)
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	require.NoError(t, err)
	for _, name := range []string{"LOG", "OTHER"} {
		_, err = js.CreateStream(ctx, jetstream.StreamConfig{Name: name, Subjects: []string{name}})
		require.NoError(t, err)
	}
	var acknowledged []uint64
	publish := func(subject string) error {
		ctx, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
		defer cancel()
		n := uint64(len(acknowledged)) + 1
		ack, err := js.Publish(ctx, subject, append(binary.BigEndian.AppendUint64(nil, n), make([]byte, 500)...))
		if err == nil && subject == "LOG" {
			acknowledged = append(acknowledged, ack.Sequence)
		}
		return err
	}
	for range 100 {
		require.NoError(t, publish("LOG"))
	}
	first := nc.ConnectedServerId()

	require.NoError(t, publish("OTHER"))

	require.NoError(t, disk.Fill())
	full := func() bool {
		err := s.Healthy()
		return err != nil && strings.Contains(err.Error(), "no space left on device")
	}
	require.Eventually(t, func() bool { _ = publish("LOG"); return full() }, time.Minute, time.Millisecond)
	require.Eventually(t, func() bool { return publish("OTHER") == nil }, time.Minute, time.Millisecond, "each stream latches by itself")
	require.Eventually(t, func() bool {
		select {
		case line := <-says:
			return strings.Contains(line, "is restarted when its disk has free space")
		default:
			return false
		}
	}, time.Minute, time.Millisecond)
	require.Error(t, publish("LOG"))
	require.True(t, full())
	require.Equal(t, first, nc.ConnectedServerId(), "it is not started again while there is no room")

	require.NoError(t, disk.Free())
	require.Eventually(t, func() bool { return publish("LOG") == nil }, time.Minute, 20*time.Millisecond)
	require.Eventually(t, func() bool { return s.Healthy() == nil }, time.Minute, 20*time.Millisecond)
	require.NotEqual(t, first, nc.ConnectedServerId())
	require.Equal(t, url, s.URL("test"))
	require.Equal(t, addr, s.Addr())
	used, after, err := s.Store()
	require.NoError(t, err)
	require.Positive(t, used)
	require.Equal(t, limit, after)
	require.Equal(t, limit, s.MaxStore())

	stream, err := js.Stream(ctx, "LOG")
	require.NoError(t, err)
	for i, sequence := range acknowledged {
		m, err := stream.GetMsg(ctx, sequence)
		require.NoError(t, err)
		require.EqualValues(t, i+1, binary.BigEndian.Uint64(m.Data), "at %d", sequence)
	}
}

// lines are what a logger says.
type lines chan string

func (l lines) Write(b []byte) (int, error) {
	select {
	case l <- string(b):
	default:
	}
	return len(b), nil
}
