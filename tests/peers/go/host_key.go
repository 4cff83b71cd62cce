package main

import (
	"io"

	"golang.org/x/crypto/ssh"
)

// hostKey is the server's key, with the algorithm it has been told to use if it was told.
func (s settings) hostKey() (ssh.Signer, error) {
	key, err := readPrivateKey(s.HostKey)
	if err != nil {
		return nil, err
	}
	if s.HostKeyAlgorithm != "" {
		return oneAlgorithm{key, s.HostKeyAlgorithm}, nil
	}
	return anyAlgorithm{key}, nil
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
