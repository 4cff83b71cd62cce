package main

import (
	"bytes"
	"fmt"
	"log"
	"os"

	"golang.org/x/crypto/ssh"
)

// settings are what the harness chooses. A role uses what it needs; what is empty is left to the library.
type settings struct {
	User     string `json:"user"`
	Password string `json:"password"`

	// Algorithms, one of each at most, and the bytes after which to ask for new keys.
	Kex              string `json:"kex"`
	Cipher           string `json:"ciphers"`
	MAC              string `json:"macs"`
	HostKeyAlgorithm string `json:"host_key_algorithm"`
	RekeyBytes       uint64 `json:"rekey_bytes"`

	// A client's: the server's port, the file of its public key, files of private keys, and ports on 127.0.0.1 that a
	// listener here (Local) or there (Remote, on RemoteHost) shall lead to. LocalSocket is a Unix socket there that a
	// listener here shall lead to, RemoteSocket one to listen on there, which leads where Remote does.
	Port       uint16   `json:"port"`
	ServerKey  string   `json:"server_key"`
	ClientKey  string   `json:"client_key"`
	ClientKeys []string `json:"client_keys"`
	Local      uint16   `json:"local"`
	Remote     uint16   `json:"remote"`

	RemoteHost   string `json:"remote_host"`
	LocalSocket  string `json:"local_socket"`
	RemoteSocket string `json:"remote_socket"`

	// A server's: the files of its private key and of the public key it admits, and whether it asks questions.
	HostKey       string `json:"host_key"`
	AuthorizedKey string `json:"authorized_key"`
	Questions     bool   `json:"questions"`

	// Files of certificates for the client's and the server's key, and of the public key of the authority whose
	// certificates are taken beside a plain key.
	ClientCertificate string `json:"client_certificate"`
	HostCertificate   string `json:"host_certificate"`
	Authority         string `json:"authority"`

	// A certificate's: the files of the authority's private key and of the public key it is for, and who that is.
	AuthorityKey string `json:"authority_key"`
	Subject      string `json:"subject"`
	Principal    string `json:"principal"`
	ForHost      bool   `json:"for_host"`

	// A relay client's: the relay's URL, the tunnel, the right to connect to it, and its port.
	URL        string `json:"url"`
	Tunnel     string `json:"tunnel"`
	Token      string `json:"token"`
	TunnelPort uint16 `json:"tunnel_port"`
}

// config is what clients and servers are told alike.
func (s settings) config() ssh.Config {
	config := ssh.Config{RekeyThreshold: s.RekeyBytes}
	if s.Kex != "" {
		config.KeyExchanges = []string{s.Kex}
	}
	if s.Cipher != "" {
		config.Ciphers = []string{s.Cipher}
	}
	if s.MAC != "" {
		config.MACs = []string{s.MAC}
	}
	return config
}

// noteExchange logs a key exchange: the library tells of none, but each needs the host key. The harness counts them.
func noteExchange() {
	log.Print("key exchange")
}

func readPrivateKey(path string) (ssh.AlgorithmSigner, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	signer, err := ssh.ParsePrivateKey(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	key, ok := signer.(ssh.AlgorithmSigner)
	if !ok {
		return nil, fmt.Errorf("%s: a key that cannot choose its algorithm", path)
	}
	return key, nil
}

func readPublicKey(path string) (ssh.PublicKey, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}

func sameKey(one, other ssh.PublicKey) bool {
	return bytes.Equal(one.Marshal(), other.Marshal())
}
