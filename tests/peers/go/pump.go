package main

import (
	"fmt"
	"io"
	"log"
	"net"
	"sync"
)

// halfCloser is a connection that can end one way and go on the other: a TCP one, or a channel. The connections that
// net and ssh give out can, though net.Conn does not say so.
type halfCloser interface {
	io.ReadWriteCloser
	CloseWrite() error
}

// pumpAll joins each connection of the listener with one that dial makes.
func pumpAll(listener net.Listener, dial func() (halfCloser, error)) {
	for {
		near, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			far, err := dial()
			if err != nil {
				log.Printf("forwarding: %v", err)
				near.Close()
				return
			}
			pump(near.(halfCloser), far)
		}()
	}
}

// pump carries bytes both ways until both have ended, and closes both.
func pump(near, far halfCloser) {
	var ways sync.WaitGroup
	for _, way := range [][2]halfCloser{{near, far}, {far, near}} {
		from, to := way[0], way[1]
		ways.Add(1)
		go func() {
			defer ways.Done()
			if _, err := io.Copy(to, from); err != nil {
				log.Printf("forwarding: %v", err)
				// Nothing of what is missing can come any more; the other way need not wait for it.
				from.Close()
			}
			to.CloseWrite()
		}()
	}
	ways.Wait()
	near.Close()
	far.Close()
}

// connect is a connection to a port on 127.0.0.1.
func connect(port uint16) (halfCloser, error) {
	stream, err := net.Dial("tcp", loopback(port))
	if err != nil {
		return nil, err
	}
	return stream.(halfCloser), nil
}

func portOf(listener net.Listener) int {
	return listener.Addr().(*net.TCPAddr).Port
}

func loopback(port uint16) string {
	return fmt.Sprintf("127.0.0.1:%d", port)
}
