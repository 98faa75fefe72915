// Plays many agents that all ask for a certificate at one moment, and then all renew theirs at one moment, each on a connection of its own, with a new key for each attempt and the
// agent's own patience: 10 s for an attempt, waits that double from 1 s to 60 s and are shortened by up to a half, and the time that a busy control plane tells. Reads a line of JSON for
// each agent from standard input, and prints one for each of the two.
package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"log"
	mathrand "math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"garrison.dev/bench/ca"
)

const (
	attemptTime = 10 * time.Second
	firstRetry  = time.Second
	lastRetry   = time.Minute
	hintJitter  = 0.25
)

type agent struct {
	URI   string `json:"uri"`
	Token string `json:"token"`
	held  []tls.Certificate
}

type place struct {
	url      string
	roots    *x509.CertPool
	attempts atomic.Int64
	mutex    sync.Mutex
	failures map[string]int
}

// The certificates of an IstioCertificateResponse in a gRPC message: the leaf first, the root last.
func chainOf(message []byte) ([][]byte, error) {
	var chain [][]byte
	for rest := message[min(5, len(message)):]; len(rest) > 0; {
		length, size := binary.Uvarint(rest[1:])
		if rest[0] != 1<<3|2 || size <= 0 || uint64(len(rest)-1-size) < length {
			return nil, errors.New("the answer is no chain of certificates")
		}
		text := rest[1+size : 1+size+int(length)]
		for block, more := pem.Decode(text); block != nil; block, more = pem.Decode(more) {
			chain = append(chain, block.Bytes)
		}
		rest = rest[1+size+int(length):]
	}
	if len(chain) < 2 {
		return nil, errors.New("the answer has no certificate")
	}
	return chain[:len(chain)-1], nil
}

// One gRPC call of istio.v1.auth.IstioCertificateService, on a connection of its own.
func (p *place) attempt(a *agent) (tls.Certificate, error) {
	p.attempts.Add(1)
	key := ca.Must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	csr := ca.Must(x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{URIs: []*url.URL{ca.Must(url.Parse(a.URI))}}, key))
	body := ca.Request(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr}))
	ctx, cancel := context.WithTimeout(context.Background(), attemptTime)
	defer cancel()
	request := ca.Must(http.NewRequestWithContext(ctx, http.MethodPost, p.url+ca.Method, bytes.NewReader(body)))
	request.Header = ca.Header(a.Token)
	transport := &http.Transport{TLSClientConfig: ca.Trusting(p.roots, a.held), ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return tls.Certificate{}, err
	}
	answer, err := ca.Answer(response)
	if err != nil {
		return tls.Certificate{}, err
	}
	chain, err := chainOf(answer)
	return tls.Certificate{Certificate: chain, PrivateKey: key}, err
}

var hint = regexp.MustCompile(`come back in (\d+) ms`)

func wait(failures int, err error) time.Duration {
	if found := hint.FindStringSubmatch(err.Error()); found != nil {
		told := time.Duration(ca.Must(strconv.Atoi(found[1]))) * time.Millisecond
		return max(firstRetry, time.Duration(float64(told)*(1+mathrand.Float64()*hintJitter)))
	}
	full := min(lastRetry, firstRetry<<min(failures, 30))
	return time.Duration(float64(full) * (1 - mathrand.Float64()/2))
}

var digits = regexp.MustCompile(`\d+`)

// Until it has another certificate.
func (p *place) obtain(a *agent) {
	for failures := 0; ; failures++ {
		certificate, err := p.attempt(a)
		if err == nil {
			a.held = []tls.Certificate{certificate}
			return
		}
		p.mutex.Lock()
		p.failures[digits.ReplaceAllString(err.Error(), "N")]++
		p.mutex.Unlock()
		time.Sleep(wait(failures, err))
	}
}

func (p *place) wave(what string, agents []*agent) {
	p.attempts.Store(0)
	p.failures = map[string]int{}
	cpu, began := ca.CPUSeconds(), time.Now()
	times := make([]float64, len(agents))
	var group sync.WaitGroup
	for index, each := range agents {
		group.Go(func() {
			p.obtain(each)
			times[index] = time.Since(began).Seconds()
		})
	}
	group.Wait()
	slices.Sort(times)
	at := func(share float64) float64 { return times[max(0, int(float64(len(times))*share)-1)] }
	fmt.Println(string(ca.Must(json.Marshal(map[string]any{
		"what": what, "half": at(0.5), "p99": at(0.99), "last": at(1), "attempts": p.attempts.Load(), "failures": p.failures, "clientCpuSeconds": ca.CPUSeconds() - cpu,
	}))))
}

func main() {
	address := flag.String("url", "", "https://HOST:PORT")
	roots := flag.String("roots", "", "file of PEM roots")
	flag.Parse()
	p := &place{url: *address, roots: ca.Roots(ca.Must(os.ReadFile(*roots)))}
	var agents []*agent
	for decoder := json.NewDecoder(os.Stdin); decoder.More(); {
		next := &agent{}
		if err := decoder.Decode(next); err != nil {
			log.Fatal(err)
		}
		agents = append(agents, next)
	}
	p.wave("all start", agents)
	p.wave("all renew", agents)
}
