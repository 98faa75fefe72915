// Package ca has what the clients of the benchmarks share: how a CA is asked by gRPC with Go's own HTTP/2, and trusted.
package ca

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"io"
	"log"
	"net/http"
	"syscall"
)

// Method is the path of istio.v1.auth.IstioCertificateService/CreateCertificate.
const Method = "/istio.v1.auth.IstioCertificateService/CreateCertificate"

// Must ends the program where there is an error.
func Must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}

// Request is a gRPC message with an IstioCertificateRequest: the CSR (PEM) in field 1.
func Request(csr []byte) []byte {
	message := append(binary.AppendUvarint([]byte{1<<3 | 2}, uint64(len(csr))), csr...)
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...)
}

// Header is that of a gRPC call, with a service account token where there is one.
func Header(token string) http.Header {
	header := http.Header{"Content-Type": {"application/grpc"}, "Te": {"trailers"}}
	if token != "" {
		header.Set("Authorization", "Bearer "+token)
	}
	return header
}

// Answer reads the gRPC message of a response. An error tells the status and what the server said.
func Answer(response *http.Response) ([]byte, error) {
	defer response.Body.Close()
	message, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	end := response.Trailer
	if end.Get("Grpc-Status") == "" {
		end = response.Header
	}
	if status := end.Get("Grpc-Status"); status != "0" {
		return nil, errors.New("gRPC " + status + ": " + end.Get("Grpc-Message"))
	}
	return message, nil
}

// Trusting is a client that trusts whoever the roots vouch for, by whatever name.
func Trusting(roots *x509.CertPool, own []tls.Certificate) *tls.Config {
	verify := func(state tls.ConnectionState) error {
		options := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool()}
		for _, above := range state.PeerCertificates[1:] {
			options.Intermediates.AddCert(above)
		}
		_, err := state.PeerCertificates[0].Verify(options)
		return err
	}
	return &tls.Config{Certificates: own, InsecureSkipVerify: true, VerifyConnection: verify}
}

// Roots are those of a PEM text.
func Roots(pem []byte) *x509.CertPool {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		log.Fatal("there is no root")
	}
	return pool
}

// CPUSeconds is the time that this process has computed so far.
func CPUSeconds() float64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		log.Fatal(err)
	}
	return float64(usage.Utime.Nano()+usage.Stime.Nano()) / 1e9
}
