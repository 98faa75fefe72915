// A client of Istio's certificate service as istio.io/api and grpc-go generate it: no code of this project. It makes a key, asks for a certificate by a
// token, and then for another by mutual TLS with the first, as an agent renews; it prints one JSON object for each, with the chain verified by Go.
package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	security "istio.io/api/security/v1alpha1"
)

type answer struct {
	By     string   `json:"by"`
	Serial string   `json:"serial"`
	URIs   []string `json:"uris"`
	Chain  int      `json:"chain"`
}

// csrFor asks for one SPIFFE ID by Go's own encoder, as Istio's agents do: no subject but an organization.
func csrFor(key *ecdsa.PrivateKey, identity string) (string, error) {
	uri, err := url.Parse(identity)
	if err != nil {
		return "", err
	}
	template := &x509.CertificateRequest{
		Subject: pkix.Name{ExtraNames: []pkix.AttributeTypeAndValue{{Type: asn1.ObjectIdentifier{2, 5, 4, 10}, Value: "cluster.local"}}},
		URIs:    []*url.URL{uri},
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		return "", err
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})), nil
}

func ask(target, name, identity, token string, roots *x509.CertPool, own []tls.Certificate) (*tls.Certificate, *answer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	csr, err := csrFor(key, identity)
	if err != nil {
		return nil, nil, err
	}
	config := &tls.Config{RootCAs: roots, Certificates: own, ServerName: name}
	connection, err := grpc.NewClient(target, grpc.WithTransportCredentials(credentials.NewTLS(config)))
	if err != nil {
		return nil, nil, err
	}
	defer connection.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	by := "certificate"
	if token != "" {
		by = "token"
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
	}
	client := security.NewIstioCertificateServiceClient(connection)
	response, err := client.CreateCertificate(ctx, &security.IstioCertificateRequest{Csr: csr, ValidityDuration: 3600})
	if err != nil {
		return nil, nil, fmt.Errorf("by %s: %w", by, err)
	}
	pair, err := keyPair(key, response.CertChain)
	if err != nil {
		return nil, nil, err
	}
	leaf := pair.Leaf
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		return nil, nil, err
	}
	uris := []string{}
	for _, uri := range leaf.URIs {
		uris = append(uris, uri.String())
	}
	return pair, &answer{By: by, Serial: fmt.Sprintf("%032x", leaf.SerialNumber), URIs: uris, Chain: len(response.CertChain)}, nil
}

func keyPair(key *ecdsa.PrivateKey, chain []string) (*tls.Certificate, error) {
	if len(chain) < 2 {
		return nil, errors.New("the chain has no root")
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	// The last element is the root, which is not presented.
	presented := strings.Join(chain[:len(chain)-1], "")
	pair, err := tls.X509KeyPair([]byte(presented), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	return &pair, err
}

func run() error {
	target := flag.String("target", "", "HOST:PORT of the certificate service")
	name := flag.String("name", "localhost", "the name in its certificate")
	root := flag.String("root", "", "the file of its roots")
	identity := flag.String("identity", "", "the SPIFFE ID to ask for")
	token := flag.String("token", "", "a service account's token")
	flag.Parse()
	text, err := os.ReadFile(*root)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return errors.New("no root in the file")
	}
	first, byToken, err := ask(*target, *name, *identity, *token, roots, nil)
	if err != nil {
		return err
	}
	_, renewed, err := ask(*target, *name, *identity, "", roots, []tls.Certificate{*first})
	if err != nil {
		return err
	}
	out := json.NewEncoder(os.Stdout)
	if err := out.Encode(byToken); err != nil {
		return err
	}
	return out.Encode(renewed)
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
