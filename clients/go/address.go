package flujo

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
)

// dialer makes connections to one server.
type dialer struct {
	target  string
	options []grpc.DialOption
}

// newDialer reads an address, `unix:PATH` or `tcp://HOST:PORT`, and what is shown there.
func newDialer(address string, options Options) (*dialer, error) {
	security, err := transport(options)
	if err != nil {
		return nil, err
	}
	made := &dialer{options: []grpc.DialOption{
		grpc.WithTransportCredentials(security),
		// A server that has come back is noticed soon.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 500 * time.Millisecond},
			MinConnectTimeout: 10 * time.Second,
		}),
		// A path that has gone dead is noticed as well. Servers allow a ping each 10 s.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 20 * time.Second, Timeout: 10 * time.Second, PermitWithoutStream: true}),
	}}
	if strings.ContainsFunc(options.Token, func(letter rune) bool { return letter < '!' || letter > '~' }) {
		return nil, errors.New("flujo: a token is visible ASCII characters only; strip the end of the line from one that was read from a file")
	}
	if options.Token != "" {
		made.options = append(made.options,
			grpc.WithChainUnaryInterceptor(func(ctx context.Context, method string, request, answer any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, calls ...grpc.CallOption) error {
				return invoke(withToken(ctx, options.Token), method, request, answer, conn, calls...)
			}),
			grpc.WithChainStreamInterceptor(func(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string, stream grpc.Streamer, calls ...grpc.CallOption) (grpc.ClientStream, error) {
				return stream(withToken(ctx, options.Token), desc, conn, method, calls...)
			}))
	}
	if path, isUnix := strings.CutPrefix(address, "unix:"); isUnix {
		path = strings.TrimPrefix(path, "//")
		if path == "" {
			return nil, fmt.Errorf("flujo: %q names no file", address)
		}
		// Not in the target, which is a URI, where `#` and `%41` mean other things than in a path.
		made.target = "passthrough:///localhost"
		made.options = append(made.options, grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		}))
		return made, nil
	}
	host, port, err := net.SplitHostPort(strings.TrimSuffix(strings.TrimPrefix(address, "tcp://"), "/"))
	if _, wrong := strconv.ParseUint(port, 10, 16); err != nil || wrong != nil || host == "" || strings.ContainsAny(host, "@/?#") {
		return nil, fmt.Errorf("flujo: %q is neither unix:PATH nor tcp://HOST:PORT", address)
	}
	if options.CA == "" && !isLoopback(host) {
		return nil, fmt.Errorf("flujo: without TLS everybody on the way to %s reads and changes what is sent; set Options.CA", host)
	}
	made.target = "passthrough:///" + net.JoinHostPort(host, port)
	return made, nil
}

func (d *dialer) dial() (*grpc.ClientConn, error) {
	return grpc.NewClient(d.target, d.options...)
}

func transport(options Options) (credentials.TransportCredentials, error) {
	if (options.Certificate == "") != (options.Key == "") {
		return nil, errors.New("flujo: Options.Certificate and Options.Key go together")
	}
	if options.CA == "" {
		if options.Certificate != "" {
			return nil, errors.New("flujo: a certificate needs TLS; set Options.CA as well")
		}
		return insecure.NewCredentials(), nil
	}
	authority, err := os.ReadFile(options.CA)
	if err != nil {
		return nil, fmt.Errorf("flujo: %w", err)
	}
	config := &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}
	if !config.RootCAs.AppendCertsFromPEM(authority) {
		return nil, fmt.Errorf("flujo: %s holds no certificate in the PEM format", options.CA)
	}
	if options.Certificate != "" {
		own, err := tls.LoadX509KeyPair(options.Certificate, options.Key)
		if err != nil {
			return nil, fmt.Errorf("flujo: %w", err)
		}
		config.Certificates = []tls.Certificate{own}
	}
	return credentials.NewTLS(config), nil
}

func withToken(ctx context.Context, token string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
}

func isLoopback(host string) bool {
	address := net.ParseIP(host)
	return host == "localhost" || address != nil && address.IsLoopback()
}
