// Command tessera judges a partition of a ledger with Tessera, which shares no code with Ledgerline: the checkpoint by the Ed25519 key, a leaf's
// inclusion, consistency with an older checkpoint, and the whole log from its entry bundles, all read over HTTP as tlog-tiles says.
//
// It knows nothing of what a leaf says: chains, events and keys are what `ledgerline verify` looks at.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/transparency-dev/tessera/client"
)

// bearerVariable has the key of the API: on a command line it could be read by everybody.
const bearerVariable = "TESSERA_BEARER"

const requestTimeout = 30 * time.Second

type arguments struct {
	url, origin, jwks, older, leaf string
	index                          uint64
	whole                          bool
	timeout                        time.Duration
}

// verdict is what is printed where all that was asked for holds.
type verdict struct {
	Size       uint64 `json:"size"`
	Root       []byte `json:"root"`
	Inclusion  bool   `json:"inclusion"`
	OlderSize  uint64 `json:"older_size,omitempty"`
	WholeBytes uint64 `json:"whole_bytes,omitempty"`
}

func main() {
	asked := parse()
	// Tessera's fsck waits for ever where all its workers ended at a wrong tile.
	time.AfterFunc(asked.timeout, func() { fail(fmt.Errorf("not within %s", asked.timeout)) })
	found, err := judge(context.Background(), asked)
	if err != nil {
		fail(err)
	}
	if err := json.NewEncoder(os.Stdout).Encode(found); err != nil {
		fail(err)
	}
}

// fail tells the reason, and of one that holds whole tiles its beginning.
func fail(err error) {
	fmt.Fprintf(os.Stderr, "tessera: %.400s\n", err.Error())
	os.Exit(1)
}

func parse() arguments {
	var asked arguments
	flag.StringVar(&asked.url, "url", "", "where the log's `checkpoint` and `tile/` are")
	flag.StringVar(&asked.origin, "origin", "", "the log's origin")
	flag.StringVar(&asked.jwks, "jwks", "", "file with the ledger's keys")
	flag.StringVar(&asked.older, "older", "", "file with an older checkpoint that the log must be consistent with")
	flag.StringVar(&asked.leaf, "leaf", "", "file with a leaf's bytes, which must be included at -index")
	flag.Uint64Var(&asked.index, "index", 0, "where -leaf is")
	flag.BoolVar(&asked.whole, "whole", false, "read every entry bundle and every tile")
	flag.DurationVar(&asked.timeout, "timeout", 2*time.Minute, "for all of it")
	flag.Parse()
	if asked.url == "" || asked.origin == "" || asked.jwks == "" || flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	return asked
}

func judge(ctx context.Context, asked arguments) (verdict, error) {
	key, err := readKey(asked.jwks, asked.origin)
	if err != nil {
		return verdict{}, err
	}
	fetcher, err := newFetcher(asked.url)
	if err != nil {
		return verdict{}, err
	}
	checkpoint, _, _, err := client.FetchCheckpoint(ctx, fetcher.ReadCheckpoint, key, asked.origin)
	if err != nil {
		return verdict{}, fmt.Errorf("checkpoint: %w", err)
	}
	tree := tree{fetcher: fetcher, key: key, head: checkpoint}
	found := verdict{Size: checkpoint.Size, Root: checkpoint.Hash}
	if asked.leaf != "" {
		if err := tree.includes(ctx, asked.leaf, asked.index); err != nil {
			return verdict{}, fmt.Errorf("inclusion of leaf %d in %d: %w", asked.index, checkpoint.Size, err)
		}
		found.Inclusion = true
	}
	if asked.older != "" {
		if found.OlderSize, err = tree.extends(ctx, asked.older); err != nil {
			return verdict{}, fmt.Errorf("consistency with %s: %w", asked.older, err)
		}
	}
	if asked.whole {
		if found.WholeBytes, err = tree.whole(ctx); err != nil {
			return verdict{}, fmt.Errorf("fsck: %w", err)
		}
	}
	return found, nil
}

func newFetcher(root string) (*client.HTTPFetcher, error) {
	at, err := url.Parse(root)
	if err != nil {
		return nil, err
	}
	// No redirects: what answers must be the log itself.
	refuse := func(*http.Request, []*http.Request) error { return errors.New("the log redirects") }
	fetcher, err := client.NewHTTPFetcher(at, &http.Client{Timeout: requestTimeout, CheckRedirect: refuse})
	if err != nil {
		return nil, err
	}
	if bearer := os.Getenv(bearerVariable); bearer != "" {
		fetcher.SetAuthorizationHeader("Bearer " + bearer)
	}
	return fetcher, nil
}
