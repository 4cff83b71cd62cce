package main

import (
	"log"
	"net"
	"strconv"
	"sync"

	"golang.org/x/crypto/ssh"
)

// address is what a tcpip-forward asks for (RFC 4254 §7.1).
type address struct {
	Host string
	Port uint32
}

func (a address) String() string {
	return net.JoinHostPort(a.Host, strconv.FormatUint(uint64(a.Port), 10))
}

// connection is what a direct-tcpip or a forwarded-tcpip is about (RFC 4254 §7.2).
type connection struct {
	Host       string
	Port       uint32
	Originator string
	OriginPort uint32
}

// serveForwardedChannel goes where the client's direct-tcpip leads, and nowhere else.
func serveForwardedChannel(offer ssh.NewChannel) {
	if offer.ChannelType() != "direct-tcpip" {
		offer.Reject(ssh.UnknownChannelType, "only direct-tcpip")
		return
	}
	var target connection
	if err := ssh.Unmarshal(offer.ExtraData(), &target); err != nil {
		offer.Reject(ssh.ConnectionFailed, err.Error())
		return
	}
	stream, err := net.Dial("tcp", address{target.Host, target.Port}.String())
	if err != nil {
		offer.Reject(ssh.ConnectionFailed, err.Error())
		return
	}
	channel, requests, err := offer.Accept()
	if err != nil {
		stream.Close()
		return
	}
	go ssh.DiscardRequests(requests)
	pump(stream.(halfCloser), channel)
}

// forwards are the listeners of one session.
type forwards struct {
	conn      ssh.Conn
	mutex     sync.Mutex
	listeners map[address]net.Listener
}

func newForwards(conn ssh.Conn) *forwards {
	return &forwards{conn: conn, listeners: make(map[address]net.Listener)}
}

// serveRequests listens and stops listening as it is asked to. Everything else is refused.
func (f *forwards) serveRequests(requests <-chan *ssh.Request) {
	for request := range requests {
		var wanted address
		known := request.Type == "tcpip-forward" || request.Type == "cancel-tcpip-forward"
		if !known || ssh.Unmarshal(request.Payload, &wanted) != nil {
			request.Reply(false, nil)
			continue
		}
		if request.Type == "cancel-tcpip-forward" {
			request.Reply(f.stop(wanted), nil)
			continue
		}
		port, err := f.start(wanted)
		if err != nil {
			log.Printf("cannot listen on %v: %v", wanted, err)
			request.Reply(false, nil)
			continue
		}
		var chosen []byte
		if wanted.Port == 0 {
			chosen = ssh.Marshal(struct{ Port uint32 }{port})
		}
		request.Reply(true, chosen)
	}
}

func (f *forwards) start(wanted address) (uint32, error) {
	listener, err := net.Listen("tcp", wanted.String())
	if err != nil {
		return 0, err
	}
	wanted.Port = uint32(portOf(listener))
	f.mutex.Lock()
	f.listeners[wanted] = listener
	f.mutex.Unlock()
	go f.accept(listener, wanted)
	return wanted.Port, nil
}

func (f *forwards) accept(listener net.Listener, listening address) {
	for {
		stream, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			from := stream.RemoteAddr().(*net.TCPAddr)
			about := connection{listening.Host, listening.Port, from.IP.String(), uint32(from.Port)}
			channel, requests, err := f.conn.OpenChannel("forwarded-tcpip", ssh.Marshal(about))
			if err != nil {
				log.Printf("the client does not take a connection: %v", err)
				stream.Close()
				return
			}
			go ssh.DiscardRequests(requests)
			pump(stream.(halfCloser), channel)
		}()
	}
}

func (f *forwards) stop(listening address) bool {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	listener, ok := f.listeners[listening]
	if ok {
		listener.Close()
		delete(f.listeners, listening)
	}
	return ok
}

func (f *forwards) close() {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	for _, listener := range f.listeners {
		listener.Close()
	}
}
