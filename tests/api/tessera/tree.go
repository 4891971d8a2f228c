package main

import (
	"context"
	"fmt"
	"os"

	"github.com/transparency-dev/formats/log"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/api"
	"github.com/transparency-dev/tessera/client"
	"github.com/transparency-dev/tessera/fsck"
	"golang.org/x/mod/sumdb/note"
)

const fsckWorkers = 4

// tree is the log at one verified checkpoint.
type tree struct {
	fetcher *client.HTTPFetcher
	key     note.Verifier
	head    *log.Checkpoint
}

func (t tree) includes(ctx context.Context, path string, index uint64) error {
	leaf, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	builder, err := client.NewProofBuilder(ctx, t.head.Size, t.fetcher.ReadTile)
	if err != nil {
		return err
	}
	hashes, err := builder.InclusionProof(ctx, index)
	if err != nil {
		return err
	}
	return proof.VerifyInclusion(rfc6962.DefaultHasher, index, t.head.Size, rfc6962.DefaultHasher.HashLeaf(leaf), hashes, t.head.Hash)
}

// extends says how large the log was at the older checkpoint.
func (t tree) extends(ctx context.Context, path string) (uint64, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	older, _, _, err := log.ParseCheckpoint(raw, t.head.Origin, t.key)
	if err != nil {
		return 0, err
	}
	if older.Size == 0 || older.Size >= t.head.Size {
		return 0, fmt.Errorf("sizes %d and %d show nothing: an older, smaller one is needed", older.Size, t.head.Size)
	}
	builder, err := client.NewProofBuilder(ctx, t.head.Size, t.fetcher.ReadTile)
	if err != nil {
		return 0, err
	}
	hashes, err := builder.ConsistencyProof(ctx, older.Size, t.head.Size)
	if err != nil {
		return 0, err
	}
	return older.Size, proof.VerifyConsistency(rfc6962.DefaultHasher, older.Size, t.head.Size, hashes, older.Hash, t.head.Hash)
}

// whole reads every entry bundle, and compares what follows from them with every tile and with the checkpoint, which may be a newer one by now.
// It says how many bytes of bundles there were.
func (t tree) whole(ctx context.Context) (read uint64, err error) {
	// fsck reaches behind the end of a bundle that has too few leaves.
	defer func() {
		if what := recover(); what != nil {
			err = fmt.Errorf("fsck gave up: %v", what)
		}
	}()
	hash := func(data []byte) ([][]byte, error) {
		read += uint64(len(data))
		return leafHashes(data)
	}
	err = fsck.New(t.head.Origin, t.key, t.fetcher, hash, fsck.Opts{N: fsckWorkers}).Check(ctx)
	return read, err
}

func leafHashes(data []byte) ([][]byte, error) {
	var bundle api.EntryBundle
	if err := bundle.UnmarshalText(data); err != nil {
		return nil, err
	}
	hashes := make([][]byte, 0, len(bundle.Entries))
	for _, entry := range bundle.Entries {
		hashes = append(hashes, rfc6962.DefaultHasher.HashLeaf(entry))
	}
	return hashes, nil
}
