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
	"encoding/binary"
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
	"syscall"
	"time"
)

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

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}

// A length-delimited protobuf field.
func field(number byte, value []byte) []byte {
	return append(binary.AppendUvarint([]byte{number<<3 | 2}, uint64(len(value))), value...)
}

func (a *asker) send(path, contentType string, body []byte, decorate func(http.Header)) (*http.Response, []byte, error) {
	request := must(http.NewRequest(http.MethodPost, a.url+path, bytes.NewReader(body)))
	request.Header.Set("Content-Type", contentType)
	decorate(request.Header)
	response, err := a.client.Do(request)
	if err != nil {
		return nil, nil, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	return response, answer, err
}

// One gRPC call of istio.v1.auth.IstioCertificateService.
func (a *asker) istio() error {
	message := field(1, a.csr)
	body := append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...)
	response, answer, err := a.send("/istio.v1.auth.IstioCertificateService/CreateCertificate", "application/grpc", body, func(header http.Header) {
		header.Set("Te", "trailers")
		if a.bearer != "" {
			header.Set("Authorization", "Bearer "+a.bearer)
		}
	})
	if err != nil {
		return err
	}
	if status := response.Trailer.Get("Grpc-Status"); status != "0" || len(answer) < 500 {
		return fmt.Errorf("gRPC status %s %s %s", status, response.Trailer.Get("Grpc-Message"), response.Header.Get("Grpc-Message"))
	}
	return nil
}

func segment(value any) string {
	return base64.RawURLEncoding.EncodeToString(must(json.Marshal(value)))
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
	body := must(json.Marshal(map[string]string{"csr": string(a.csr), "ott": a.oneTimeToken()}))
	response, answer, err := a.send("/1.0/sign", "application/json", body, func(http.Header) {})
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusCreated || len(answer) < 500 {
		return fmt.Errorf("step-ca answered %d", response.StatusCode)
	}
	return nil
}

// Trusts whoever the roots vouch for, by whatever name.
func trusting(roots []byte, certificates []tls.Certificate) *tls.Config {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(roots)
	verify := func(state tls.ConnectionState) error {
		options := x509.VerifyOptions{Roots: pool, Intermediates: x509.NewCertPool()}
		for _, above := range state.PeerCertificates[1:] {
			options.Intermediates.AddCert(above)
		}
		_, err := state.PeerCertificates[0].Verify(options)
		return err
	}
	return &tls.Config{Certificates: certificates, InsecureSkipVerify: true, VerifyConnection: verify}
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

func cpuMs() float64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		log.Fatal(err)
	}
	return float64((usage.Utime.Nano() + usage.Stime.Nano())) / 1e6
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
		certificates = append(certificates, must(tls.LoadX509KeyPair(*identity, *identity)))
	}
	transport := &http.Transport{TLSClientConfig: trusting(must(os.ReadFile(*roots)), certificates), ForceAttemptHTTP2: true}
	a := &asker{client: &http.Client{Transport: transport}, url: *url, csr: must(os.ReadFile(*csr)), kid: *kid, uri: *uri}
	ask := a.istio
	if *token != "" {
		a.bearer = string(bytes.TrimSpace(must(os.ReadFile(*token))))
	}
	if *kind == "step" {
		block, _ := pem.Decode(must(os.ReadFile(*provisioner)))
		key, ok := must(x509.ParsePKCS8PrivateKey(block.Bytes)).(*ecdsa.PrivateKey)
		if !ok {
			log.Fatal(errors.New("the provisioner's key is not ECDSA"))
		}
		a.key, ask = key, a.step
	}
	if err := ask(); err != nil { // Connects.
		log.Fatal(err)
	}
	before := cpuMs()
	result := measure(ask, *concurrency, *count)
	result.ClientCpuMs = cpuMs() - before
	fmt.Println(string(must(json.Marshal(result))))
}
