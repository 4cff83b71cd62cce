package main

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/gorilla/websocket"
	"golang.org/x/crypto/ssh"
)

// runRelayClient is a client of a tunnel, by version 1 of the relay's protocol: it looks the tunnel up, connects a WebSocket
// to the relay and through it an SSH session with the host, which asks for the tunnel's ports to be forwarded.
func runRelayClient(s settings) error {
	found, err := lookUp(s)
	if err != nil {
		return fmt.Errorf("looking up the tunnel: %w", err)
	}
	socket, err := dialRelay(found.ClientRelayURI, s.Token)
	if err != nil {
		return fmt.Errorf("connecting to the relay: %w", err)
	}
	config := &ssh.ClientConfig{User: "tunnel", HostKeyCallback: found.check}
	conn, channels, requests, err := ssh.NewClientConn(&webSocketStream{Conn: socket}, "", config)
	if err != nil {
		return fmt.Errorf("a session with the host: %w", err)
	}
	go refuseAll(channels)
	offered := make(chan uint32, 16)
	go grantPorts(requests, offered)
	// Other clients on this library open one and never use it.
	_, idle, err := conn.OpenChannel("session", nil)
	if err != nil {
		return fmt.Errorf("a session channel: %w", err)
	}
	go ssh.DiscardRequests(idle)
	if err := await(offered, s.TunnelPort); err != nil {
		return err
	}
	if _, _, err := conn.SendRequest("RefreshPorts", true, nil); err != nil {
		return fmt.Errorf("refreshing ports: %w", err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go pumpAll(listener, func() (halfCloser, error) { return dialThrough(conn, s.TunnelPort) })
	say("ready", fields{"ports": map[string]int{fmt.Sprint(s.TunnelPort): portOf(listener)}})
	if given := <-commands; given.Do != "quit" {
		return fmt.Errorf("there is no command %q", given.Do)
	}
	return conn.Close()
}

// endpoint is where a tunnel's host is, as the management API has it.
type endpoint struct {
	ClientRelayURI string   `json:"clientRelayUri"`
	HostPublicKeys []string `json:"hostPublicKeys"`
}

func lookUp(s settings) (*endpoint, error) {
	address := fmt.Sprintf("%s/tunnels/%s?api-version=2023-09-27-preview&includePorts=true", s.URL, s.Tunnel)
	request, err := http.NewRequest(http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", "Tunnel "+s.Token)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, errors.New(response.Status)
	}
	var tunnel struct {
		Endpoints []endpoint `json:"endpoints"`
	}
	if err := json.NewDecoder(response.Body).Decode(&tunnel); err != nil {
		return nil, err
	}
	if len(tunnel.Endpoints) != 1 {
		return nil, fmt.Errorf("%d endpoints where one was to be", len(tunnel.Endpoints))
	}
	return &tunnel.Endpoints[0], nil
}

// check compares the host's key with those that it has published.
func (e *endpoint) check(_ string, _ net.Addr, key ssh.PublicKey) error {
	noteExchange()
	shown := base64.StdEncoding.EncodeToString(key.Marshal())
	for _, published := range e.HostPublicKeys {
		if shown == published {
			return nil
		}
	}
	return fmt.Errorf("%s is not a key of the host", ssh.FingerprintSHA256(key))
}

func dialRelay(address, token string) (*websocket.Conn, error) {
	const protocol = "tunnel-relay-client"
	dialer := websocket.Dialer{Subprotocols: []string{protocol}, HandshakeTimeout: 20 * time.Second}
	socket, response, err := dialer.Dial(address, http.Header{"Authorization": {"Tunnel " + token}})
	if err != nil && response != nil {
		return nil, errors.New(response.Status)
	}
	if err != nil {
		return nil, err
	}
	if socket.Subprotocol() != protocol {
		return nil, fmt.Errorf("it speaks %q", socket.Subprotocol())
	}
	return socket, nil
}

func refuseAll(channels <-chan ssh.NewChannel) {
	for offer := range channels {
		offer.Reject(ssh.UnknownChannelType, "a client takes no channels")
	}
}

// grantPorts tells the ports that the host has.
func grantPorts(requests <-chan *ssh.Request, offered chan<- uint32) {
	for request := range requests {
		var wanted address
		if request.Type != "tcpip-forward" || ssh.Unmarshal(request.Payload, &wanted) != nil {
			request.Reply(false, nil)
			continue
		}
		request.Reply(true, ssh.Marshal(struct{ Port uint32 }{wanted.Port}))
		offered <- wanted.Port
	}
}

func await(offered <-chan uint32, port uint16) error {
	tooLong := time.After(20 * time.Second)
	for {
		select {
		case found := <-offered:
			if found == uint32(port) {
				return nil
			}
		case <-tooLong:
			return fmt.Errorf("the host does not offer port %d", port)
		}
	}
}

// dialThrough opens a connection to the host's port: a forwarded-tcpip that the SSH client opens.
func dialThrough(conn ssh.Conn, port uint16) (halfCloser, error) {
	about := connection{"127.0.0.1", uint32(port), "127.0.0.1", 1}
	channel, requests, err := conn.OpenChannel("forwarded-tcpip", ssh.Marshal(about))
	if err != nil {
		return nil, err
	}
	go ssh.DiscardRequests(requests)
	return channel, nil
}
