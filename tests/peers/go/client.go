package main

import (
	"fmt"
	"net"
	"strings"

	"golang.org/x/crypto/ssh"
)

// runClient logs in and forwards the ports and sockets it is told to. At the command `cancel` it takes back what the server
// listens on for it.
func runClient(s settings) error {
	client, err := s.connect(s.logins)
	if err != nil {
		return err
	}
	ready := fields{}
	var remote []net.Listener
	switch {
	case s.Local != 0:
		ready["local_port"], err = forwardTo(client, "tcp", loopback(s.Local))
	case s.LocalSocket != "":
		ready["local_port"], err = forwardTo(client, "unix", s.LocalSocket)
	}
	if err != nil {
		return err
	}
	if s.Remote != 0 {
		host := s.RemoteHost
		if host == "" {
			host = "127.0.0.1"
		}
		listener, err := client.Listen("tcp", net.JoinHostPort(host, "0"))
		if err != nil {
			return err
		}
		ready["remote_port"] = portOf(listener)
		remote = append(remote, listener)
	}
	if s.RemoteSocket != "" {
		listener, err := client.Listen("unix", s.RemoteSocket)
		if err != nil {
			return err
		}
		remote = append(remote, listener)
	}
	for _, listener := range remote {
		go pumpAll(listener, func() (halfCloser, error) { return connect(s.Remote) })
	}
	say("ready", ready)
	go func() {
		<-commands
		for _, listener := range remote {
			if err := listener.Close(); err != nil {
				say("error", fields{"message": err.Error()})
			}
		}
		say("cancelled", nil)
	}()
	return fmt.Errorf("the session has ended: %w", client.Wait())
}

// forwardTo listens here, on the port that it gives, for what the client then dials there.
func forwardTo(client *ssh.Client, network, address string) (int, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	go pumpAll(listener, func() (halfCloser, error) {
		stream, err := client.Dial(network, address)
		if err != nil {
			return nil, err
		}
		return stream.(halfCloser), nil
	})
	return portOf(listener), nil
}

// runLogin only logs in, with whatever the server wants.
func runLogin(s settings) error {
	client, err := s.connect(s.logins)
	if err != nil && strings.Contains(err.Error(), "unable to authenticate") {
		say("refused", nil)
		return nil
	}
	if err != nil {
		return err
	}
	say("ready", nil)
	return client.Close()
}

// connect makes a session with the server on Port.
func (s settings) connect(logins func() ([]ssh.AuthMethod, error)) (*ssh.Client, error) {
	methods, err := logins()
	if err != nil {
		return nil, err
	}
	config, err := s.clientConfig(methods)
	if err != nil {
		return nil, err
	}
	return ssh.Dial("tcp", loopback(s.Port), config)
}

func (s settings) clientConfig(methods []ssh.AuthMethod) (*ssh.ClientConfig, error) {
	expected, err := readPublicKey(s.ServerKey)
	if err != nil {
		return nil, err
	}
	checker, err := s.checker()
	if err != nil {
		return nil, err
	}
	checker.HostKeyFallback = ssh.FixedHostKey(expected)
	config := &ssh.ClientConfig{
		Config: s.config(),
		User:   s.User,
		Auth:   methods,
		HostKeyCallback: func(name string, address net.Addr, key ssh.PublicKey) error {
			noteExchange()
			return checker.CheckHostKey(name, address, key)
		},
	}
	if s.HostKeyAlgorithm != "" {
		config.HostKeyAlgorithms = []string{s.HostKeyAlgorithm}
	}
	return config, nil
}

// logins are all ways in that the settings have, and answers to any question.
func (s settings) logins() ([]ssh.AuthMethod, error) {
	var keys []ssh.Signer
	for _, path := range append(s.ClientKeys, s.ClientKey) {
		if path == "" {
			continue
		}
		key, err := readPrivateKey(path)
		if err != nil {
			return nil, err
		}
		if s.ClientCertificate != "" {
			if key, err = certified(key, s.ClientCertificate); err != nil {
				return nil, err
			}
		}
		keys = append(keys, key)
	}
	var methods []ssh.AuthMethod
	if len(keys) > 0 {
		methods = append(methods, ssh.PublicKeys(keys...))
	}
	if s.Password != "" {
		methods = append(methods, ssh.Password(s.Password))
	}
	return append(methods, ssh.KeyboardInteractive(answer)), nil
}

// answer says what it was asked, and whether it would have shown the answer.
func answer(_, _ string, questions []string, echos []bool) ([]string, error) {
	answers := make([]string, len(questions))
	for i, question := range questions {
		answers[i] = "hidden " + question
		if echos[i] {
			answers[i] = "visible " + question
		}
	}
	return answers, nil
}
