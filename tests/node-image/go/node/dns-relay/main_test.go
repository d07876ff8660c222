package main

import (
	"io"
	"net"
	"testing"
	"time"
)

// A question over UDP and one over TCP come back as the resolver answers them.
func TestRelay(t *testing.T) {
	resolver, resolverStreams := listen(t)
	go func() {
		buffer := make([]byte, 512)
		size, client, err := resolver.ReadFrom(buffer)
		if err == nil {
			_, _ = resolver.WriteTo(append([]byte("answer to "), buffer[:size]...), client)
		}
	}()
	go func() {
		client, err := resolverStreams.Accept()
		if err != nil {
			return
		}
		defer client.Close()
		question, _ := io.ReadAll(client)
		_, _ = client.Write(append([]byte("answer to "), question...))
	}()

	packets, streams := listen(t)
	upstream := resolver.LocalAddr().String()
	if resolverStreams.Addr().String() != upstream {
		t.Fatal("the resolver's sockets are at two addresses")
	}
	go servePackets(packets, upstream)
	go serveStreams(streams, upstream)

	for _, network := range []string{"udp", "tcp"} {
		client, err := net.Dial(network, packets.LocalAddr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		if err := client.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := client.Write([]byte("who?")); err != nil {
			t.Fatal(err)
		}
		if stream, ok := client.(*net.TCPConn); ok {
			_ = stream.CloseWrite()
		}
		answer := make([]byte, 512)
		size, err := client.Read(answer)
		if err != nil || string(answer[:size]) != "answer to who?" {
			t.Errorf("%s: got %q, %v", network, answer[:size], err)
		}
	}
}

// listen opens a UDP and a TCP socket of one port.
func listen(t *testing.T) (net.PacketConn, net.Listener) {
	t.Helper()
	for range 10 {
		streams, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		packets, err := net.ListenPacket("udp", streams.Addr().String())
		if err != nil {
			streams.Close()
			continue
		}
		t.Cleanup(func() { packets.Close(); streams.Close() })
		return packets, streams
	}
	t.Fatal("no port is free for both")
	return nil, nil
}
