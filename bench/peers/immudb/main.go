// Command immudb is immudb beside Ledgerline: its server, and clients that append events and read them back with proof. See README.md.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"github.com/codenotary/immudb/pkg/api/schema"
	"github.com/codenotary/immudb/pkg/client"
	"github.com/codenotary/immudb/pkg/server"
)

const (
	user     = "immudb"
	password = "immudb"
	database = "defaultdb"
	// A transaction of immudb holds at most 1,024 entries.
	batchMax = 1024
)

type arguments struct {
	directory         string
	port, connections int
	batch, stored     int
	seconds           time.Duration
	verified          bool
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintf(os.Stderr, "immudb: %v\n", err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) < 2 {
		return fmt.Errorf("a command is missing: serve, write or read")
	}
	var asked arguments
	flags := flag.NewFlagSet("immudb", flag.ExitOnError)
	flags.StringVar(&asked.directory, "directory", "", "of the server's data, or of the clients' states")
	flags.IntVar(&asked.port, "port", 0, "of the server on loopback")
	flags.IntVar(&asked.connections, "connections", 32, "clients, each with a session of its own")
	flags.IntVar(&asked.batch, "batch", 1, "events in a transaction")
	flags.IntVar(&asked.stored, "stored", 0, "events that `write` is to leave behind, or that `read` finds")
	flags.DurationVar(&asked.seconds, "for", 10*time.Second, "how long; write ends earlier where -stored is reached")
	flags.BoolVar(&asked.verified, "verified", false, "check the proof of each answer")
	if err := flags.Parse(os.Args[2:]); err != nil {
		return err
	}
	switch os.Args[1] {
	case "serve":
		return serve(asked)
	case "write":
		return measure(asked, write)
	case "read":
		return measure(asked, read)
	default:
		return fmt.Errorf("there is no command %s", os.Args[1])
	}
}

// serve runs the server with its defaults, which wait for the disk before they answer, until it is killed.
func serve(asked arguments) error {
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", asked.port))
	if err != nil {
		return err
	}
	options := server.DefaultOptions().WithDir(asked.directory).WithListener(listener).
		WithMetricsServer(false).WithWebServer(false).WithLogDir(filepath.Join(asked.directory, "log"))
	immudb := server.DefaultServer().WithOptions(options)
	if err := immudb.Initialize(); err != nil {
		return err
	}
	return immudb.Start()
}

// action does request number n, and says of how many events it was.
type action func(ctx context.Context, asked arguments, client client.ImmuClient, n uint64) (int, error)

func write(ctx context.Context, asked arguments, client client.ImmuClient, n uint64) (int, error) {
	first := n * uint64(asked.batch)
	if asked.batch == 1 {
		var err error
		if asked.verified {
			_, err = client.VerifiedSet(ctx, key(first), event(first))
		} else {
			_, err = client.Set(ctx, key(first), event(first))
		}
		return 1, err
	}
	request := &schema.SetRequest{}
	for at := first; at < first+uint64(asked.batch); at++ {
		request.KVs = append(request.KVs, &schema.KeyValue{Key: key(at), Value: event(at)})
	}
	_, err := client.SetAll(ctx, request)
	return asked.batch, err
}

func read(ctx context.Context, asked arguments, client client.ImmuClient, n uint64) (int, error) {
	// Spread over what is there.
	at := n * 7919 % uint64(asked.stored)
	var entry *schema.Entry
	var err error
	if asked.verified {
		entry, err = client.VerifiedGet(ctx, key(at))
	} else {
		entry, err = client.Get(ctx, key(at))
	}
	if err == nil && string(entry.Value) != string(event(at)) {
		err = fmt.Errorf("event %d came back as another", at)
	}
	return 1, err
}

func key(n uint64) []byte { return fmt.Appendf(nil, "evt-%012d", n) }

var padding = func() string {
	text := ""
	for range 6 {
		text += "The quick brown fox jumps over the lazy dog while seventeen auditors take careful notes of each step. "
	}
	return text
}()

// event has about the size of those of the rest of the bench.
func event(n uint64) []byte {
	mixed := (n + 0x9E3779B97F4A7C15) * 0xBF58476D1CE4E5B9
	return fmt.Appendf(nil, `{"event_id":"evt-%012d","tenant_id":"tenant-%05d","occurred_at":"2026-11-22T10:%02d:%02d.000Z","action":"document.read",`+
		`"actor":{"type":"user","id":"user-%d","name":"Zoë Müller","mfa":true},"targets":[{"type":"document","id":"doc-%x"},{"type":"folder","id":"folder-%d"}],`+
		`"context":{"ip":"192.0.2.%d","user_agent":"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36","request_id":"%016x"},`+
		`"data":{"bytes":%d,"tags":["audit","sample"],"outcome":"success","note":"%s"}}`,
		n, mixed%1000, n/60%60, n%60, mixed%997, mixed>>20, mixed%64, mixed%254+1, mixed, mixed%10_000_000, padding)
}

// seen is what all clients saw together.
type seen struct {
	sync.Mutex
	waits  []time.Duration
	events int
	first  error
	errors int
}

func measure(asked arguments, act action) error {
	if asked.batch < 1 || asked.batch > batchMax || asked.port == 0 || asked.directory == "" {
		return fmt.Errorf("-port, -directory and a -batch of 1 to %d are needed", batchMax)
	}
	clients := make([]client.ImmuClient, asked.connections)
	for at := range clients {
		state := filepath.Join(asked.directory, fmt.Sprintf("state-%d", at))
		if err := os.MkdirAll(state, 0o700); err != nil {
			return err
		}
		clients[at] = client.NewClient().WithOptions(client.DefaultOptions().WithPort(asked.port).WithDir(state))
		if err := clients[at].OpenSession(context.Background(), []byte(user), []byte(password), database); err != nil {
			return err
		}
	}
	var all seen
	var next atomic.Uint64
	var group sync.WaitGroup
	begun := time.Now()
	for _, one := range clients {
		group.Go(func() { loop(asked, act, one, &next, begun, &all) })
	}
	group.Wait()
	took := time.Since(begun)
	for _, one := range clients {
		_ = one.CloseSession(context.Background())
	}
	return all.print(took)
}

func loop(asked arguments, act action, one client.ImmuClient, next *atomic.Uint64, begun time.Time, all *seen) {
	for time.Since(begun) < asked.seconds {
		n, from := next.Add(1)-1, time.Now()
		if os.Args[1] == "write" && asked.stored > 0 && int(n)*asked.batch >= asked.stored {
			return
		}
		events, err := act(context.Background(), asked, one, n)
		all.Lock()
		if err != nil {
			all.errors++
			if all.first == nil {
				all.first = err
			}
		} else {
			all.waits = append(all.waits, time.Since(from))
			all.events += events
		}
		all.Unlock()
	}
}

func (s *seen) print(took time.Duration) error {
	if len(s.waits) == 0 {
		return fmt.Errorf("nothing went well; the first error: %v", s.first)
	}
	sort.Slice(s.waits, func(a, b int) bool { return s.waits[a] < s.waits[b] })
	at := func(share float64) float64 {
		place := min(int(float64(len(s.waits))*share), len(s.waits)-1)
		return float64(s.waits[place].Microseconds()) / 1e3
	}
	first := ""
	if s.first != nil {
		first = s.first.Error()
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]any{
		"requests": len(s.waits), "events": s.events, "errors": s.errors, "first_error": first,
		"requests_per_second": float64(len(s.waits)) / took.Seconds(), "events_per_second": float64(s.events) / took.Seconds(),
		"p50_ms": at(0.5), "p95_ms": at(0.95), "p99_ms": at(0.99),
	})
}
