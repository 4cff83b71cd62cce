package main

import (
	"crypto/rand"
	"fmt"
	"time"

	"golang.org/x/crypto/ssh"
)

// runCertify tells a certificate for one hour.
func runCertify(s settings) error {
	authority, err := readPrivateKey(s.AuthorityKey)
	if err != nil {
		return err
	}
	subject, err := readPublicKey(s.Subject)
	if err != nil {
		return err
	}
	certificate := &ssh.Certificate{
		Key:             subject,
		CertType:        ssh.UserCert,
		KeyId:           "by Go",
		ValidPrincipals: []string{s.Principal},
		ValidAfter:      uint64(time.Now().Add(-time.Minute).Unix()),
		ValidBefore:     uint64(time.Now().Add(time.Hour).Unix()),
	}
	if s.ForHost {
		certificate.CertType = ssh.HostCert
	} else {
		certificate.Extensions = map[string]string{"permit-port-forwarding": ""}
	}
	if err := certificate.SignCert(rand.Reader, authority); err != nil {
		return err
	}
	say("certificate", fields{"line": string(ssh.MarshalAuthorizedKey(certificate))})
	return nil
}

// certified is the key together with the certificate in this file.
func certified(key ssh.AlgorithmSigner, path string) (ssh.AlgorithmSigner, error) {
	public, err := readPublicKey(path)
	if err != nil {
		return nil, err
	}
	certificate, ok := public.(*ssh.Certificate)
	if !ok {
		return nil, fmt.Errorf("%s: not a certificate", path)
	}
	signer, err := ssh.NewCertSigner(certificate, key)
	if err != nil {
		return nil, err
	}
	return signer.(ssh.AlgorithmSigner), nil
}

// checker takes the authority's certificates, if there is an authority, and whatever the fallbacks take.
func (s settings) checker() (*ssh.CertChecker, error) {
	isAuthority := func(ssh.PublicKey) bool { return false }
	if s.Authority != "" {
		authority, err := readPublicKey(s.Authority)
		if err != nil {
			return nil, err
		}
		isAuthority = func(key ssh.PublicKey) bool { return sameKey(key, authority) }
	}
	return &ssh.CertChecker{
		IsUserAuthority: isAuthority,
		IsHostAuthority: func(key ssh.PublicKey, _ string) bool { return isAuthority(key) },
	}, nil
}
