package api_test

import (
	"bufio"
	"fmt"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bugle-push/bugle/api"
	"github.com/bugle-push/bugle/relay"
)

// BenchmarkStreams measures one update over sockets until the last of many
// clients has read it, clients included, and what an open stream takes.
func BenchmarkStreams(b *testing.B) {
	const clients = 5000
	o := newOddsWorld(b, func(cfg *api.Config, _ *relay.BoardConfig) {
		cfg.Odds.PerUser, cfg.Odds.Heartbeat = clients, time.Hour
	})
	o.put(b, "e1", "[]")
	request := fmt.Sprintf("GET /v1/odds/e1/stream HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n", tokenFor(b, "ada"))
	conns := make([]net.Conn, clients)
	before := memory()
	for i := range conns {
		conn, err := new(net.Dialer).DialContext(b.Context(), "tcp", o.addr)
		require.NoError(b, err)
		b.Cleanup(func() { _ = conn.Close() })
		_, err = conn.Write([]byte(request))
		require.NoError(b, err)
		conns[i] = conn
	}
	open := fmt.Sprintf("bugle_odds_streams{} %d", clients)
	require.Eventually(b, func() bool { return strings.Contains(o.scrape(b), open) }, time.Minute, 100*time.Millisecond)
	perStream := float64(memory()-before) / clients
	readers := make([]*bufio.Reader, clients)
	for i, conn := range conns {
		readers[i] = bufio.NewReaderSize(conn, 2048)
	}
	read := func() {
		var wg sync.WaitGroup
		for part := range 50 {
			wg.Go(func() {
				for i := part; i < clients; i += 50 {
					for {
						line, err := readers[i].ReadString('\n')
						if err != nil {
							b.Error(err)
							return
						}
						if strings.HasPrefix(line, "data: ") {
							break
						}
					}
				}
			})
		}
		wg.Wait()
	}
	read()
	for b.Loop() {
		o.put(b, "e1", `[`+strings.Repeat(`{"name":"Car 1","imageURL":"https://cdn.example/car-1.png","odds":0.125},`, 11)+`{"name":"Car 12","imageURL":"","odds":2}]`)
		read()
	}
	b.ReportMetric(perStream, "B/open-stream")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/clients, "ns/stream")
}

// memory is what the process holds of heap and stacks, in bytes.
func memory() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}
