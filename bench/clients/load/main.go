// Asks a CA for certificates, so many at a time, and prints what came of it as one line of JSON. Of both kinds of CA by the one HTTP/2 client of Go's
// standard library, over one connection, so that no library of a peer's is measured; what a client does besides (a one-time token for step-ca) counts as its own.
package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"garrison.dev/bench/ca"
)

// Bytes: less is no certificate.
const leastAnswer = 500

// What one request has besides the CSR.
type asker struct {
	client *http.Client
	url    string
	csr    []byte
	// Of an Istio-compatible CA: the service account token, or empty.
	bearer string
	// Of step-ca: the provisioner's key, its identifier, and the name to ask for.
	key      *ecdsa.PrivateKey
	kid, uri string
}

func (a *asker) send(path string, header http.Header, body []byte) (*http.Response, error) {
	request := ca.Must(http.NewRequest(http.MethodPost, a.url+path, bytes.NewReader(body)))
	request.Header = header
	return a.client.Do(request)
}

// One gRPC call of istio.v1.auth.IstioCertificateService.
func (a *asker) istio() error {
	response, err := a.send(ca.Method, ca.Header(a.bearer), ca.Request(a.csr))
	if err != nil {
		return err
	}
	answer, err := ca.Answer(response)
	if err == nil && len(answer) < leastAnswer {
		err = errors.New("an answer without a certificate")
	}
	return err
}

func segment(value any) string {
	return base64.RawURLEncoding.EncodeToString(ca.Must(json.Marshal(value)))
}

// A JWT of RFC 7515, signed with ES256.
func (a *asker) oneTimeToken() string {
	now := time.Now().Unix()
	text := segment(map[string]string{"alg": "ES256", "kid": a.kid, "typ": "JWT"}) + "." + segment(map[string]any{
		"iss": "garrison", "sub": a.uri, "aud": a.url + "/1.0/sign", "sans": []string{a.uri}, "jti": rand.Text(), "iat": now, "nbf": now, "exp": now + 120,
	})
	digest := sha256.Sum256([]byte(text))
	r, s, err := ecdsa.Sign(rand.Reader, a.key, digest[:])
	if err != nil {
		log.Fatal(err)
	}
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return text + "." + base64.RawURLEncoding.EncodeToString(signature)
}

func (a *asker) step() error {
	body := ca.Must(json.Marshal(map[string]string{"csr": string(a.csr), "ott": a.oneTimeToken()}))
	response, err := a.send("/1.0/sign", http.Header{"Content-Type": {"application/json"}}, body)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err == nil && (response.StatusCode != http.StatusCreated || len(answer) < leastAnswer) {
		err = fmt.Errorf("step-ca answered %d", response.StatusCode)
	}
	return err
}

type figures struct {
	Count     int     `json:"count"`
	PerSecond float64 `json:"perSecond"`
	P50Ms     float64 `json:"p50Ms"`
	P99Ms     float64 `json:"p99Ms"`
	// Of this process, while it asked.
	ClientCpuMs float64 `json:"clientCpuMs"`
}

// Calls ask, so many at a time, count times. Ends the program at the first failure.
func measure(ask func() error, concurrency, count int) figures {
	var group sync.WaitGroup
	var taken atomic.Int64
	times := make([][]time.Duration, concurrency)
	start := time.Now()
	for caller := range concurrency {
		group.Go(func() {
			for taken.Add(1) <= int64(count) {
				began := time.Now()
				if err := ask(); err != nil {
					log.Fatal(err)
				}
				times[caller] = append(times[caller], time.Since(began))
			}
		})
	}
	group.Wait()
	elapsed := time.Since(start).Seconds()
	all := slices.Concat(times...)
	slices.Sort(all)
	at := func(share float64) float64 { return float64(all[int(float64(len(all))*share)].Microseconds()) / 1000 }
	return figures{Count: len(all), PerSecond: float64(len(all)) / elapsed, P50Ms: at(0.5), P99Ms: at(0.99)}
}

func main() {
	kind := flag.String("kind", "istio", "the CA's API: istio or step")
	url := flag.String("url", "", "https://HOST:PORT")
	roots := flag.String("roots", "", "file of PEM roots")
	csr := flag.String("csr", "", "file of a PEM CSR")
	token := flag.String("token", "", "file of a service account token")
	identity := flag.String("identity", "", "file of a client's PEM certificate and key")
	provisioner := flag.String("provisioner", "", "file of step-ca's provisioner's PEM key")
	kid := flag.String("kid", "", "that key's identifier")
	uri := flag.String("uri", "", "the name to ask step-ca for")
	concurrency := flag.Int("concurrency", 1, "requests at a time")
	count := flag.Int("count", 1000, "requests in all")
	flag.Parse()

	var certificates []tls.Certificate
	if *identity != "" {
		certificates = append(certificates, ca.Must(tls.LoadX509KeyPair(*identity, *identity)))
	}
	transport := &http.Transport{TLSClientConfig: ca.Trusting(ca.Roots(ca.Must(os.ReadFile(*roots))), certificates), ForceAttemptHTTP2: true}
	a := &asker{client: &http.Client{Transport: transport}, url: *url, csr: ca.Must(os.ReadFile(*csr)), kid: *kid, uri: *uri}
	ask := a.istio
	if *token != "" {
		a.bearer = string(bytes.TrimSpace(ca.Must(os.ReadFile(*token))))
	}
	if *kind == "step" {
		block, _ := pem.Decode(ca.Must(os.ReadFile(*provisioner)))
		key, ok := ca.Must(x509.ParsePKCS8PrivateKey(block.Bytes)).(*ecdsa.PrivateKey)
		if !ok {
			log.Fatal(errors.New("the provisioner's key is not ECDSA"))
		}
		a.key, ask = key, a.step
	}
	if err := ask(); err != nil { // Connects.
		log.Fatal(err)
	}
	before := ca.CPUSeconds()
	result := measure(ask, *concurrency, *count)
	result.ClientCpuMs = (ca.CPUSeconds() - before) * 1000
	fmt.Println(string(ca.Must(json.Marshal(result))))
}
