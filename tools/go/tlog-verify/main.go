// Checks a log of issued certificates with the Go project's own packages for transparency logs: every entry and every
// archived checkpoint against the newest one, and proofs of inclusion as texts.
//
//	tlog-verify FOLDER [PROOF...]
package main

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func must[T any](value T, err error) T {
	if err != nil {
		fmt.Println("REFUSED:", err)
		os.Exit(1)
	}
	return value
}

// tiles reads the files of tlog-tiles, whose paths have no height.
type tiles string

func (folder tiles) Height() int                         { return 8 }
func (folder tiles) SaveTiles(_ []tlog.Tile, _ [][]byte) {}
func (folder tiles) ReadTiles(wanted []tlog.Tile) ([][]byte, error) {
	data := make([][]byte, len(wanted))
	for i, tile := range wanted {
		bytes, err := os.ReadFile(filepath.Join(string(folder), strings.Replace(tile.Path(), "tile/8/", "tile/", 1)))
		if err != nil {
			return nil, err
		}
		data[i] = bytes
	}
	return data, nil
}

func open(text []byte, verifier note.Verifier) tlog.Tree {
	opened := must(note.Open(text, note.VerifierList(verifier)))
	lines := strings.Split(opened.Text, "\n")
	if len(lines) < 3 || lines[0] != verifier.Name() {
		must(0, fmt.Errorf("the checkpoint is not of %s", verifier.Name()))
	}
	hash := must(tlog.ParseHash(lines[2]))
	return tlog.Tree{N: must(strconv.ParseInt(lines[1], 10, 64)), Hash: hash}
}

// entries are those of one bundle, by index.
func entries(folder string, bundle int64, size int64) [][]byte {
	tile := tlog.Tile{H: 8, L: -1, N: bundle, W: int(min(256, size-bundle*256))}
	path := strings.Replace(tile.Path(), "tile/8/data/", "tile/entries/", 1)
	data := must(os.ReadFile(filepath.Join(folder, path)))
	var found [][]byte
	for len(data) > 0 {
		length := int(binary.BigEndian.Uint16(data))
		found = append(found, data[2:2+length])
		data = data[2+length:]
	}
	return found
}

func checkProof(path string, verifier note.Verifier) {
	head, checkpoint, _ := strings.Cut(string(must(os.ReadFile(path))), "\n\n")
	lines := strings.Split(head, "\n")
	entry := must(base64.StdEncoding.DecodeString(strings.TrimPrefix(lines[1], "extra ")))
	index := must(strconv.ParseInt(strings.TrimPrefix(lines[2], "index "), 10, 64))
	var proof tlog.RecordProof
	for _, line := range lines[3:] {
		proof = append(proof, must(tlog.ParseHash(line)))
	}
	tree := open([]byte(checkpoint), verifier)
	must(0, tlog.CheckRecord(proof, tree.N, tree.Hash, index, tlog.RecordHash(entry)))
	fmt.Printf("proved %s\n", entry)
}

func main() {
	folder := os.Args[1]
	text := strings.TrimSpace(string(must(os.ReadFile(filepath.Join(folder, "verifier")))))
	verifier := must(note.NewVerifier(text))
	tree := open(must(os.ReadFile(filepath.Join(folder, "checkpoint"))), verifier)
	reader := tlog.TileHashReader(tree, tiles(folder))
	for bundle := int64(0); bundle*256 < tree.N; bundle++ {
		for i, entry := range entries(folder, bundle, tree.N) {
			index := bundle*256 + int64(i)
			proof := must(tlog.ProveRecord(tree.N, index, reader))
			must(0, tlog.CheckRecord(proof, tree.N, tree.Hash, index, tlog.RecordHash(entry)))
		}
	}
	archived := must(filepath.Glob(filepath.Join(folder, "checkpoints", "*")))
	for _, path := range archived {
		old := open(must(os.ReadFile(path)), verifier)
		if old.N == 0 {
			continue
		}
		proof := must(tlog.ProveTree(tree.N, old.N, reader))
		must(0, tlog.CheckTree(proof, tree.N, tree.Hash, old.N, old.Hash))
	}
	for _, path := range os.Args[2:] {
		checkProof(path, verifier)
	}
	fmt.Printf("ok: %d entries, %d checkpoints\n", tree.N, len(archived))
}
