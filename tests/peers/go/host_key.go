package main

import (
	"io"

	"golang.org/x/crypto/ssh"
)

// addHostKeys gives the server its key, with the algorithm it has been told to use if it was told, and its certificate.
func (s settings) addHostKeys(config *ssh.ServerConfig) error {
	key, err := readPrivateKey(s.HostKey)
	if err != nil {
		return err
	}
	if s.HostKeyAlgorithm != "" {
		config.AddHostKey(oneAlgorithm{key, s.HostKeyAlgorithm})
		return nil
	}
	config.AddHostKey(anyAlgorithm{key})
	if s.HostCertificate == "" {
		return nil
	}
	certified, err := certified(key, s.HostCertificate)
	if err != nil {
		return err
	}
	config.AddHostKey(anyAlgorithm{certified})
	return nil
}

// anyAlgorithm offers all algorithms of its key.
type anyAlgorithm struct{ ssh.AlgorithmSigner }

func (k anyAlgorithm) Sign(rand io.Reader, data []byte) (*ssh.Signature, error) {
	noteExchange()
	return k.AlgorithmSigner.Sign(rand, data)
}

func (k anyAlgorithm) SignWithAlgorithm(rand io.Reader, data []byte, algorithm string) (*ssh.Signature, error) {
	noteExchange()
	return k.AlgorithmSigner.SignWithAlgorithm(rand, data, algorithm)
}

// oneAlgorithm offers one. The library takes the type of a key that cannot choose for its only algorithm, so this key says
// that it is of a type named like that; what goes over the wire is untouched.
type oneAlgorithm struct {
	key  ssh.AlgorithmSigner
	name string
}

func (k oneAlgorithm) PublicKey() ssh.PublicKey {
	return namedKey{k.key.PublicKey(), k.name}
}

func (k oneAlgorithm) Sign(rand io.Reader, data []byte) (*ssh.Signature, error) {
	noteExchange()
	return k.key.SignWithAlgorithm(rand, data, k.name)
}

type namedKey struct {
	ssh.PublicKey
	name string
}

func (k namedKey) Type() string {
	return k.name
}
