package main

import (
	"errors"
	"log"
	"net"

	"golang.org/x/crypto/ssh"
)

// runServer admits one user, by key, password or questions, and forwards both ways.
func runServer(s settings) error {
	config, err := s.serverConfig()
	if err != nil {
		return err
	}
	return serveAll(config, func(conn *ssh.ServerConn, channels <-chan ssh.NewChannel, requests <-chan *ssh.Request) {
		forwards := newForwards(conn)
		go forwards.serveRequests(requests)
		for channel := range channels {
			go serveForwardedChannel(channel)
		}
		forwards.close()
	})
}

// serveAll listens, and serves each session that logs in.
func serveAll(
	config *ssh.ServerConfig, serve func(*ssh.ServerConn, <-chan ssh.NewChannel, <-chan *ssh.Request),
) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	say("listening", fields{"port": portOf(listener)})
	for {
		stream, err := listener.Accept()
		if err != nil {
			return err
		}
		go func() {
			conn, channels, requests, err := ssh.NewServerConn(stream, config)
			if err != nil {
				log.Printf("no login: %v", err)
				return
			}
			serve(conn, channels, requests)
			log.Printf("the session has ended: %v", conn.Wait())
		}()
	}
}

func (s settings) serverConfig() (*ssh.ServerConfig, error) {
	config := &ssh.ServerConfig{
		Config: s.config(),
		AuthLogCallback: func(_ ssh.ConnMetadata, method string, err error) {
			log.Printf("login by %s: %v", method, err)
		},
	}
	if err := s.addHostKeys(config); err != nil {
		return nil, err
	}
	if s.Password != "" {
		config.PasswordCallback = func(conn ssh.ConnMetadata, password []byte) (*ssh.Permissions, error) {
			return admitIf(conn.User() == s.User && string(password) == s.Password)
		}
	}
	if s.AuthorizedKey != "" {
		authorized, err := readPublicKey(s.AuthorizedKey)
		if err != nil {
			return nil, err
		}
		checker, err := s.checker()
		if err != nil {
			return nil, err
		}
		checker.UserKeyFallback = func(conn ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			return admitIf(conn.User() == s.User && sameKey(key, authorized))
		}
		config.PublicKeyCallback = checker.Authenticate
	}
	if s.Questions {
		config.BannerCallback = func(ssh.ConnMetadata) string { return "Two rounds\r\nfollow\n" }
		config.KeyboardInteractiveCallback = s.ask
	}
	return config, nil
}

// ask wants the user and a number in the first round and another number in the second.
func (s settings) ask(_ ssh.ConnMetadata, challenge ssh.KeyboardInteractiveChallenge) (*ssh.Permissions, error) {
	first, err := challenge("First", "Two rounds", []string{"User: ", "PIN: "}, []bool{true, false})
	if err != nil {
		return nil, err
	}
	if len(first) != 2 || first[0] != s.User || first[1] != "1234" {
		return nil, errors.New("the first round went wrong")
	}
	second, err := challenge("", "", []string{"Code: "}, []bool{false})
	if err != nil {
		return nil, err
	}
	return admitIf(len(second) == 1 && second[0] == "42")
}

func admitIf(admitted bool) (*ssh.Permissions, error) {
	if !admitted {
		return nil, errors.New("not admitted")
	}
	return nil, nil
}
