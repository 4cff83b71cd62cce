package main

import (
	"encoding/binary"
	"errors"
	"io"
	"net"

	"golang.org/x/crypto/ssh"
)

// unusual are ciphers that the library may have and does not offer by itself. It drops the names it does not know.
var unusual = []string{"aes256-gcm@openssh.com", "aes128-cbc", "aes192-cbc", "aes256-cbc"}

// kexInit is the packet that RFC 4253 §7.1 has, as far as it matters here.
type kexInit struct {
	Cookie   [16]byte `sshtype:"20"`
	Kex      []string
	HostKeys []string
	Ciphers  []string
	Backward []string
	MACs     []string
	Unread   []byte `ssh:"rest"`
}

// runAlgorithms tells what a client of this library offers. It has no list that a program could ask for, so a client is
// started and its first packet read.
func runAlgorithms(settings) error {
	near, far := net.Pipe()
	config := &ssh.ClientConfig{HostKeyCallback: ssh.InsecureIgnoreHostKey()}
	config.SetDefaults()
	config.Ciphers = append(config.Ciphers, unusual...)
	go ssh.NewClientConn(near, "", config)
	offer, err := readKexInit(far)
	if err != nil {
		return err
	}
	say("algorithms", fields{
		"kex": offer.Kex, "host_key_algorithms": offer.HostKeys, "ciphers": offer.Ciphers, "macs": offer.MACs,
	})
	return nil
}

// readKexInit plays a server as far as the client's first packet.
func readKexInit(client net.Conn) (*kexInit, error) {
	// The pipe has no buffer: the client may write before it reads.
	go io.WriteString(client, "SSH-2.0-probe\r\n")
	for letter := make([]byte, 1); letter[0] != '\n'; {
		if _, err := io.ReadFull(client, letter); err != nil {
			return nil, err
		}
	}
	var header struct {
		Length  uint32
		Padding uint8
	}
	if err := binary.Read(client, binary.BigEndian, &header); err != nil {
		return nil, err
	}
	payload := int64(header.Length) - int64(header.Padding) - 1
	if payload < 0 || payload > 35000 {
		return nil, errors.New("the client's first packet has no sensible length")
	}
	packet := make([]byte, payload)
	if _, err := io.ReadFull(client, packet); err != nil {
		return nil, err
	}
	offer := new(kexInit)
	return offer, ssh.Unmarshal(packet, offer)
}
