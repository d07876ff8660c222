// dns-relay makes a resolver that listens on loopback reachable from pods.
//
// On its own networks, Docker gives a container 127.0.0.11 as its only name
// server. Pods have a loopback device of their own, and CoreDNS refuses to
// forward to loopback, so a kubelet must not hand that address on. The relay
// listens on an address of the node and passes questions and answers through.
package main

import (
	"errors"
	"flag"
	"io"
	"log"
	"net"
	"time"
)

const (
	// A question that is not answered in this time is forgotten; clients ask again sooner.
	timeout = 5 * time.Second
	// The largest datagram that EDNS can announce.
	maxDatagram = 65535
)

func main() {
	log.SetFlags(0)
	listen := flag.String("listen", "", "address and port to answer on")
	upstream := flag.String("upstream", "127.0.0.11:53", "address and port of the resolver")
	flag.Parse()
	if *listen == "" {
		log.Fatal("dns-relay: --listen is missing: give the node's address and port 53")
	}
	packets, err := net.ListenPacket("udp", *listen)
	if err != nil {
		log.Fatalf("dns-relay: cannot listen: %v", err)
	}
	streams, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatalf("dns-relay: cannot listen: %v", err)
	}
	go serveStreams(streams, *upstream)
	servePackets(packets, *upstream)
}

func servePackets(packets net.PacketConn, upstream string) {
	buffer := make([]byte, maxDatagram)
	for {
		size, client, err := packets.ReadFrom(buffer)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			log.Printf("dns-relay: cannot read a question: %v", err)
			continue
		}
		question := append([]byte(nil), buffer[:size]...)
		go func() {
			if err := relayPacket(packets, client, question, upstream); err != nil {
				log.Printf("dns-relay: no answer for %v: %v", client, err)
			}
		}()
	}
}

func relayPacket(packets net.PacketConn, client net.Addr, question []byte, upstream string) error {
	resolver, err := net.DialTimeout("udp", upstream, timeout)
	if err != nil {
		return err
	}
	defer resolver.Close()
	if err := resolver.SetDeadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	if _, err := resolver.Write(question); err != nil {
		return err
	}
	answer := make([]byte, maxDatagram)
	size, err := resolver.Read(answer)
	if err != nil {
		return err
	}
	_, err = packets.WriteTo(answer[:size], client)
	return err
}

func serveStreams(streams net.Listener, upstream string) {
	for {
		client, err := streams.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			log.Printf("dns-relay: cannot accept a connection: %v", err)
			continue
		}
		go relayStream(client, upstream)
	}
}

func relayStream(client net.Conn, upstream string) {
	defer client.Close()
	resolver, err := net.DialTimeout("tcp", upstream, timeout)
	if err != nil {
		log.Printf("dns-relay: no resolver for %v: %v", client.RemoteAddr(), err)
		return
	}
	defer resolver.Close()
	go func() {
		// The client has asked its last question; let the resolver finish.
		_, _ = io.Copy(resolver, client)
		_ = resolver.(*net.TCPConn).CloseWrite()
	}()
	_, _ = io.Copy(client, resolver)
}
