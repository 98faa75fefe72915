// Other trust domains, as go-spiffe sees them: their bundles over the Workload API, and bundle endpoints, asked and served.
package main

import (
	"bufio"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/federation"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
)

const endpointPath = "/bundle/endpoint"

// How many certificates and keys of each trust domain the Workload API gives.
func bundles(ctx context.Context, client *workloadapi.Client) {
	authorities, keys := map[string]int{}, map[string]int{}
	context, err := client.FetchX509Context(ctx)
	check(err)
	for _, bundle := range context.Bundles.Bundles() {
		authorities[bundle.TrustDomain().Name()] = len(bundle.X509Authorities())
	}
	alone, err := client.FetchX509Bundles(ctx)
	check(err)
	jwt, err := client.FetchJWTBundles(ctx)
	check(err)
	for _, bundle := range jwt.Bundles() {
		keys[bundle.TrustDomain().Name()] = len(bundle.JWTAuthorities())
	}
	tell(map[string]any{"x509": authorities, "bundles": alone.Len(), "jwt": keys})
}

// A server of another trust domain, with that one's Workload API, and a client of this one's: each verifies the other by the bundles that it was given.
func across(ctx context.Context, client *workloadapi.Client, otherSocket string, asMember bool) {
	other, err := workloadapi.New(ctx, workloadapi.WithAddr(otherSocket))
	check(err)
	defer other.Close()
	mine, err := workloadapi.NewX509Source(ctx, workloadapi.WithClient(client))
	check(err)
	defer mine.Close()
	theirs, err := workloadapi.NewX509Source(ctx, workloadapi.WithClient(other))
	check(err)
	defer theirs.Close()
	domainOf := func(source *workloadapi.X509Source) spiffeid.TrustDomain {
		svid, err := source.GetX509SVID()
		check(err)
		return svid.ID.TrustDomain()
	}
	expected := domainOf(theirs)
	if !asMember {
		expected = domainOf(mine)
	}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", tlsconfig.MTLSServerConfig(theirs, theirs, tlsconfig.AuthorizeMemberOf(domainOf(mine))))
	check(err)
	go func() {
		accepted, err := listener.Accept()
		check(err)
		peer := make(chan string, 1)
		if handshake := accepted.(*tls.Conn); handshake.HandshakeContext(ctx) == nil {
			id, err := x509svid.IDFromCert(handshake.ConnectionState().PeerCertificates[0])
			check(err)
			peer <- id.String()
			_, _ = io.WriteString(accepted, <-peer)
		}
		_ = accepted.Close()
	}()
	dialer := &tls.Dialer{NetDialer: &net.Dialer{}, Config: tlsconfig.MTLSClientConfig(mine, mine, tlsconfig.AuthorizeMemberOf(expected))}
	connection, err := dialer.DialContext(ctx, "tcp", listener.Addr().String())
	if err != nil {
		tell(map[string]any{"error": err.Error()})
		return
	}
	server, err := x509svid.IDFromCert(connection.(*tls.Conn).ConnectionState().PeerCertificates[0])
	check(err)
	said, err := io.ReadAll(connection)
	check(err)
	tell(map[string]any{"server": server.String(), "client": string(said)})
}

// fetch URL DOMAIN web CA-FILE | fetch URL DOMAIN spiffe BUNDLE-FILE ENDPOINT-ID
func fetch(ctx context.Context, arguments []string) {
	domain := spiffeid.RequireTrustDomainFromString(arguments[1])
	var option federation.FetchOption
	if arguments[2] == "web" {
		text, err := os.ReadFile(arguments[3])
		check(err)
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(text)
		option = federation.WithWebPKIRoots(pool)
	} else {
		first, err := spiffebundle.Load(domain, arguments[3])
		check(err)
		option = federation.WithSPIFFEAuth(first.X509Bundle(), spiffeid.RequireFromString(arguments[4]))
	}
	bundle, err := federation.FetchBundle(ctx, domain, arguments[0], option)
	if err != nil {
		tell(map[string]any{"error": err.Error()})
		return
	}
	sequence, _ := bundle.SequenceNumber()
	hint, _ := bundle.RefreshHint()
	tell(map[string]any{
		"x509":     len(bundle.X509Authorities()),
		"jwt":      len(bundle.JWTAuthorities()),
		"sequence": sequence,
		"hint":     hint.Seconds(),
	})
}

type authority struct {
	certificate *x509.Certificate
	key         crypto.Signer
}

// A root of the domain.
func newAuthority(domain spiffeid.TrustDomain, curve elliptic.Curve) authority {
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	check(err)
	template := certificate(domain.ID().URL())
	template.Subject = pkix.Name{Organization: []string{domain.Name()}}
	template.IsCA = true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	return sign(template, authority{template, key}, key)
}

func certificate(uri *url.URL) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	check(err)
	return &x509.Certificate{
		SerialNumber:          serial,
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(time.Hour),
		BasicConstraintsValid: true,
		URIs:                  []*url.URL{uri},
	}
}

func sign(template *x509.Certificate, issuer authority, key crypto.Signer) authority {
	der, err := x509.CreateCertificate(rand.Reader, template, issuer.certificate, key.Public(), issuer.key)
	check(err)
	made, err := x509.ParseCertificate(der)
	check(err)
	return authority{made, key}
}

// The endpoint's own certificate: an X.509-SVID, or one for its address.
func endpointCertificate(issuer authority, domain spiffeid.TrustDomain, web bool) authority {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(err)
	template := certificate(spiffeid.RequireFromPath(domain, endpointPath).URL())
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	if web {
		template.URIs, template.IPAddresses = nil, []net.IP{net.IPv4(127, 0, 0, 1)}
	}
	return sign(template, issuer, key)
}

func token(key crypto.Signer, algorithm jose.SignatureAlgorithm, keyID string, subject string) string {
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: jose.JSONWebKey{Key: key, KeyID: keyID}}, (&jose.SignerOptions{}).WithType("JWT"))
	check(err)
	claims, err := json.Marshal(map[string]any{"sub": subject, "aud": []string{"vault"}, "exp": time.Now().Add(time.Minute).Unix()})
	check(err)
	signed, err := signer.Sign(claims)
	check(err)
	text, err := signed.CompactSerialize()
	check(err)
	return text
}

// Of each algorithm of JWT-SVIDs: a token of this domain, and one that says it were of another.
func tokens(bundle *spiffebundle.Bundle, other string) (own map[string]string, forged map[string]string) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	check(err)
	keys := map[string]crypto.Signer{"rsa": rsaKey}
	for name, curve := range map[string]elliptic.Curve{"p256": elliptic.P256(), "p384": elliptic.P384(), "p521": elliptic.P521()} {
		keys[name], err = ecdsa.GenerateKey(curve, rand.Reader)
		check(err)
	}
	for name, key := range keys {
		check(bundle.AddJWTAuthority(name, key.Public()))
	}
	own, forged = map[string]string{}, map[string]string{}
	for algorithm, name := range map[jose.SignatureAlgorithm]string{
		jose.RS256: "rsa", jose.RS384: "rsa", jose.RS512: "rsa", jose.PS256: "rsa", jose.PS384: "rsa", jose.PS512: "rsa",
		jose.ES256: "p256", jose.ES384: "p384", jose.ES512: "p521",
	} {
		own[string(algorithm)] = token(keys[name], algorithm, name, "spiffe://"+bundle.TrustDomain().Name()+"/billing/API")
		forged[string(algorithm)] = token(keys[name], algorithm, name, "spiffe://"+other+"/ns/shop/sa/client")
	}
	return own, forged
}

// endpoint PROFILE DOMAIN OTHER FOLDER: a bundle endpoint with a CA and keys of its own. It tells its URL, and puts `ca.pem` and DOMAIN.json into
// the folder. Each line on standard input adds a root; the endpoint ends with its standard input.
func endpoint(arguments []string) {
	profile, domain, other, folder := arguments[0], spiffeid.RequireTrustDomainFromString(arguments[1]), arguments[2], arguments[3]
	root := newAuthority(domain, elliptic.P384())
	bundle := spiffebundle.FromX509Authorities(domain, []*x509.Certificate{root.certificate})
	bundle.SetSequenceNumber(1)
	own, forged := tokens(bundle, other)
	document, err := bundle.Marshal()
	check(err)
	check(os.WriteFile(filepath.Join(folder, domain.Name()+".json"), document, 0o600))
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.certificate.Raw})
	check(os.WriteFile(filepath.Join(folder, "ca.pem"), ca, 0o600))

	leaf := endpointCertificate(root, domain, profile == "web")
	config := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{leaf.certificate.Raw}, PrivateKey: leaf.key}}}
	if profile == "spiffe" {
		config = tlsconfig.TLSServerConfig(&x509svid.SVID{ID: spiffeid.RequireFromPath(domain, endpointPath), Certificates: []*x509.Certificate{leaf.certificate}, PrivateKey: leaf.key})
	}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", config)
	check(err)
	served := spiffebundle.NewSet(bundle)
	handler, err := federation.NewHandler(domain, served)
	check(err)
	go func() { check((&http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}).Serve(listener)) }()
	tell(map[string]any{"url": "https://" + listener.Addr().String() + "/", "own": own, "forged": forged})
	for input := bufio.NewScanner(os.Stdin); input.Scan(); {
		// Put in its place as a whole: a root and its number belong together.
		bundle = bundle.Clone()
		sequence, _ := bundle.SequenceNumber()
		bundle.SetSequenceNumber(sequence + 1)
		bundle.AddX509Authority(newAuthority(domain, elliptic.P256()).certificate)
		served.Add(bundle)
	}
}
