package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"

	"golang.org/x/crypto/ssh"
)

// end is one side of a session that the harness moves by commands. It takes every channel but those of kind "refuse",
// and grants every request whose name does not begin with "no".
type end struct {
	conn     ssh.Conn
	mutex    sync.Mutex
	channels map[string]ssh.Channel
}

// runEndClient goes to the server on Port, and lets nobody ask who it is.
func runEndClient(s settings) error {
	config, err := s.clientConfig(nil)
	if err != nil {
		return err
	}
	stream, err := net.Dial("tcp", loopback(s.Port))
	if err != nil {
		return err
	}
	conn, channels, requests, err := ssh.NewClientConn(stream, "", config)
	if err != nil {
		return err
	}
	newEnd(conn).run(channels, requests)
	return nil
}

// runEndServer lets everybody in; it is meant for one client.
func runEndServer(s settings) error {
	config, err := s.serverConfig()
	if err != nil {
		return err
	}
	config.NoClientAuth = true
	return serveAll(config, func(conn *ssh.ServerConn, channels <-chan ssh.NewChannel, requests <-chan *ssh.Request) {
		newEnd(conn).run(channels, requests)
	})
}

func newEnd(conn ssh.Conn) *end {
	return &end{conn: conn, channels: make(map[string]ssh.Channel)}
}

// run lasts as long as the session.
func (e *end) run(channels <-chan ssh.NewChannel, requests <-chan *ssh.Request) {
	go e.takeRequests(requests)
	go e.takeChannels(channels)
	go e.obey()
	say("ready", fields{"version": string(e.conn.ClientVersion()) + " " + string(e.conn.ServerVersion())})
	say("session_closed", fields{"message": fmt.Sprint(e.conn.Wait())})
}

func (e *end) takeRequests(requests <-chan *ssh.Request) {
	for request := range requests {
		say("global", fields{
			"name": request.Type, "fields": hex.EncodeToString(request.Payload), "wants_reply": request.WantReply,
		})
		request.Reply(!strings.HasPrefix(request.Type, "no"), append([]byte("re:"), request.Payload...))
	}
}

func (e *end) takeChannels(channels <-chan ssh.NewChannel) {
	count := 0
	for offer := range channels {
		if offer.ChannelType() == "refuse" {
			offer.Reject(ssh.ResourceShortage, "nobody there")
			continue
		}
		channel, requests, err := offer.Accept()
		if err != nil {
			return
		}
		name := fmt.Sprintf("in%d", count)
		count++
		e.add(name, channel, requests)
		say("channel", fields{
			"channel": name, "kind": offer.ChannelType(), "fields": hex.EncodeToString(offer.ExtraData()),
		})
	}
}

func (e *end) add(name string, channel ssh.Channel, requests <-chan *ssh.Request) {
	e.mutex.Lock()
	e.channels[name] = channel
	e.mutex.Unlock()
	go func() {
		for request := range requests {
			say("request", fields{
				"channel": name, "name": request.Type, "fields": hex.EncodeToString(request.Payload),
				"wants_reply": request.WantReply,
			})
			request.Reply(!strings.HasPrefix(request.Type, "no"), nil)
		}
		say("channel_closed", fields{"channel": name})
	}()
}

// obey does every command at once with those that are not done yet, and tells when it is.
func (e *end) obey() {
	for given := range commands {
		go func(given command) {
			told, err := e.do(given)
			if err != nil {
				e.fail(given, err)
				return
			}
			say(given.Do, told)
		}(given)
	}
}

func (e *end) fail(given command, err error) {
	told := fields{"command": given.Do, "message": err.Error()}
	var refused *ssh.OpenChannelError
	if errors.As(err, &refused) {
		told["reason"], told["message"] = uint32(refused.Reason), refused.Message
	}
	say("failed", told)
}

func (e *end) do(given command) (fields, error) {
	payload, err := hex.DecodeString(given.Fields)
	if err != nil {
		return nil, err
	}
	switch given.Do {
	case "open":
		channel, requests, err := e.conn.OpenChannel(given.Kind, payload)
		if err != nil {
			return nil, err
		}
		e.add(given.Channel, channel, requests)
		return fields{"channel": given.Channel}, nil
	case "ask":
		granted, answer, err := e.conn.SendRequest(given.Name, given.Reply, payload)
		return fields{"granted": granted, "fields": hex.EncodeToString(answer)}, err
	case "disconnect":
		return nil, e.conn.Close()
	}
	channel, err := e.channel(given.Channel)
	if err != nil {
		return nil, err
	}
	switch given.Do {
	case "call":
		granted, err := channel.SendRequest(given.Name, given.Reply, payload)
		return fields{"granted": granted}, err
	case "write":
		return digest(given.Length, func(hash io.Writer, length int64) (int64, error) {
			return io.CopyN(io.MultiWriter(stream(channel, given.Stderr), hash), &noise{}, length)
		})
	case "read":
		return digest(given.Length, func(hash io.Writer, length int64) (int64, error) {
			if length == 0 {
				return io.Copy(hash, stream(channel, given.Stderr))
			}
			return io.CopyN(hash, stream(channel, given.Stderr), length)
		})
	case "eof":
		return nil, channel.CloseWrite()
	case "close":
		return nil, channel.Close()
	}
	return nil, fmt.Errorf("there is no command %q", given.Do)
}

func (e *end) channel(name string) (ssh.Channel, error) {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	channel, ok := e.channels[name]
	if !ok {
		return nil, fmt.Errorf("there is no channel %q", name)
	}
	return channel, nil
}

func stream(channel ssh.Channel, stderr bool) io.ReadWriter {
	if stderr {
		return channel.Stderr()
	}
	return channel
}

// digest tells how much was moved, and its SHA-256.
func digest(length int64, move func(io.Writer, int64) (int64, error)) (fields, error) {
	hash := sha256.New()
	moved, err := move(hash, length)
	return fields{"length": moved, "sha256": hex.EncodeToString(hash.Sum(nil))}, err
}

// noise never ends and never repeats within a packet's length: bytes of a small generator that both sides need not share.
type noise struct{ state uint64 }

func (n *noise) Read(into []byte) (int, error) {
	for i := range into {
		n.state = n.state*6364136223846793005 + 1442695040888963407
		into[i] = byte(n.state >> 56)
	}
	return len(into), nil
}
