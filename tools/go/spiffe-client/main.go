// A program as others write it with go-spiffe: what it gets from the Workload API of SPIFFE_ENDPOINT_SOCKET, as JSON lines.
package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
)

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func tell(fields map[string]any) {
	check(json.NewEncoder(os.Stdout).Encode(fields))
}

// Tells of each certificate as it comes.
type x509Watcher struct{}

func (x509Watcher) OnX509ContextUpdate(context *workloadapi.X509Context) {
	svid := context.DefaultSVID()
	_, err := svid.PrivateKey.Public(), svid.Certificates[0].CheckSignatureFrom(context.Bundles.Bundles()[0].X509Authorities()[0])
	tell(map[string]any{
		"id":      svid.ID.String(),
		"serial":  svid.Certificates[0].SerialNumber.Text(16),
		"domains": len(context.Bundles.Bundles()),
		"signed":  err == nil,
	})
}

func (x509Watcher) OnX509ContextWatchError(err error) {
	tell(map[string]any{"error": err.Error()})
}

// Tells of each set of keys as it comes.
type jwtWatcher struct{}

func (jwtWatcher) OnJWTBundlesUpdate(set *jwtbundle.Set) {
	for _, bundle := range set.Bundles() {
		tell(map[string]any{"domain": bundle.TrustDomain().Name(), "keys": len(bundle.JWTAuthorities())})
	}
}

func (jwtWatcher) OnJWTBundlesWatchError(err error) {
	tell(map[string]any{"error": err.Error()})
}

func fetchJwt(ctx context.Context, client *workloadapi.Client, audience string) {
	svid, err := client.FetchJWTSVID(ctx, jwtsvid.Params{Audience: audience})
	check(err)
	tell(map[string]any{"id": svid.ID.String(), "token": svid.Marshal(), "audience": svid.Audience, "seconds": time.Until(svid.Expiry).Seconds()})
}

// The agent's word and go-spiffe's own must be the same.
func validateJwt(ctx context.Context, client *workloadapi.Client, audience, token string) {
	said := map[string]any{}
	if svid, err := client.ValidateJWTSVID(ctx, token, audience); err != nil {
		said["agent"] = err.Error()
	} else {
		said["agent"] = svid.ID.String()
	}
	bundles, err := client.FetchJWTBundles(ctx)
	check(err)
	if svid, err := jwtsvid.ParseAndValidate(token, bundles, []string{audience}); err != nil {
		said["library"] = err.Error()
	} else {
		said["library"] = svid.ID.String()
	}
	tell(said)
}

// A server and a client with certificates of the Workload API, each proving itself to the other.
func mutualTls(ctx context.Context, client *workloadapi.Client, peer string) {
	source, err := workloadapi.NewX509Source(ctx, workloadapi.WithClient(client))
	check(err)
	defer source.Close()
	authorizer := tlsconfig.AuthorizeID(spiffeid.RequireFromString(peer))
	listener, err := tls.Listen("tcp", "127.0.0.1:0", tlsconfig.MTLSServerConfig(source, source, authorizer))
	check(err)
	go func() {
		accepted, err := listener.Accept()
		check(err)
		_, err = io.WriteString(accepted, "hello")
		check(err)
		check(accepted.Close())
	}()
	connection, err := (&tls.Dialer{NetDialer: &net.Dialer{}, Config: tlsconfig.MTLSClientConfig(source, source, authorizer)}).DialContext(ctx, "tcp", listener.Addr().String())
	check(err)
	said, err := io.ReadAll(connection)
	check(err)
	tell(map[string]any{"said": string(said)})
}

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if len(os.Args) > 1 && os.Args[1] == "fetch" {
		fetch(ctx, os.Args[2:])
		return
	}
	if len(os.Args) > 1 && os.Args[1] == "endpoint" {
		endpoint(os.Args[2:])
		return
	}
	client, err := workloadapi.New(ctx)
	check(err)
	defer client.Close()
	switch argument := func(n int) string { return os.Args[n] }; argument(1) {
	case "watch-x509":
		check(client.WatchX509Context(ctx, x509Watcher{}))
	case "watch-jwt":
		check(client.WatchJWTBundles(ctx, jwtWatcher{}))
	case "jwt":
		fetchJwt(ctx, client, argument(2))
	case "validate":
		validateJwt(ctx, client, argument(2), argument(3))
	case "mtls":
		mutualTls(ctx, client, argument(2))
	case "bundles":
		bundles(ctx, client)
	case "across":
		across(ctx, client, argument(2), true)
	case "across-wrong":
		across(ctx, client, argument(2), false)
	default:
		fmt.Fprintln(os.Stderr, "watch-x509 | watch-jwt | jwt AUDIENCE | validate AUDIENCE TOKEN | mtls PEER | bundles | across SOCKET | across-wrong SOCKET | fetch … | endpoint …")
		os.Exit(2)
	}
}
