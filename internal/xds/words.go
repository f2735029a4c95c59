package xds

import (
	"context"
	"fmt"
	"net"
	"regexp"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
)

// ends are those of a connection, of which one is another each time.
var ends = regexp.MustCompile(`\b(read|write) (tcp|udp|unix) \S*->\S*: `)

// Words are those of whoever ended a stream, or kept a connection from being there, without gRPC's own around them.
func Words(err error) string {
	s, ok := status.FromError(err)
	if !ok || err == nil {
		return fmt.Sprint(err)
	}
	text := s.Message()
	if inner, ok := strings.CutPrefix(text, "connection error: desc = "); ok {
		if inner, err := strconv.Unquote(inner); err == nil {
			text = strings.TrimPrefix(inner, "transport: ")
		}
	}
	text = ends.ReplaceAllString(text, "")
	if s.Code() == codes.Unavailable {
		return text
	}
	return s.Code().String() + ": " + text
}

// Reason is why the server at an address gave nothing, in its own words if it has any.
func Reason(ctx context.Context, address string, c credentials.TransportCredentials, text string) string {
	if strings.Contains(text, "broken pipe") || strings.Contains(text, "connection reset") {
		if words := refusal(ctx, address, c); words != "" {
			return words
		}
	}
	return text
}

// refusal is why a server does not like our certificate; "": it does not say. In TLS 1.3 it says so after the handshake,
// and who has written more by then, as gRPC does, may find the connection closed instead.
func refusal(ctx context.Context, address string, c credentials.TransportCredentials) string {
	if c.Info().SecurityProtocol != "tls" {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	raw, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return err.Error()
	}
	defer raw.Close()
	conn, _, err := c.Clone().ClientHandshake(ctx, address, raw)
	if err != nil {
		return err.Error()
	}
	_ = conn.SetReadDeadline(time.Now().Add(time.Second))
	if _, err = conn.Read(make([]byte, 1)); err != nil && strings.Contains(err.Error(), "tls: ") {
		return err.Error()
	}
	return ""
}
