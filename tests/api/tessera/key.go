package main

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"

	"golang.org/x/mod/sumdb/note"
)

// ed25519Type stands before the key's bytes in what a verifier key says.
const ed25519Type = 1

// readKey makes a note verifier of the last Ed25519 key of a JWKS: the keys stand in the order in which the ledger declared them.
func readKey(path, origin string) (note.Verifier, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var set struct {
		Keys []struct{ Kty, Crv, Alg, X string }
	}
	if err := json.Unmarshal(data, &set); err != nil {
		return nil, fmt.Errorf("%s is no JWKS: %w", path, err)
	}
	for at := len(set.Keys) - 1; at >= 0; at-- {
		if key := set.Keys[at]; key.Kty == "OKP" && key.Crv == "Ed25519" && key.Alg == "Ed25519" {
			return verifierOf(key.X, origin)
		}
	}
	return nil, fmt.Errorf("%s has no Ed25519 key", path)
}

func verifierOf(x, origin string) (note.Verifier, error) {
	bytes, err := base64.RawURLEncoding.DecodeString(x)
	if err != nil {
		return nil, err
	}
	typed := append([]byte{ed25519Type}, bytes...)
	hash := sha256.Sum256(append([]byte(origin+"\n"), typed...))
	id := binary.BigEndian.Uint32(hash[:4])
	return note.NewVerifier(fmt.Sprintf("%s+%08x+%s", origin, id, base64.StdEncoding.EncodeToString(typed)))
}
