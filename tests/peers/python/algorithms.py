"""Says which algorithms asyncssh can use here; what it lists depends on the libraries it finds."""

from asyncssh import encryption, kex, mac, public_key

from common import say

lists = {
    "kex": kex.get_kex_algs(),
    "host_key_algorithms": public_key.get_public_key_algs(),
    "ciphers": encryption.get_encryption_algs(),
    "macs": mac.get_mac_algs(),
}
say("algorithms", **{name: [entry.decode() for entry in entries] for name, entries in lists.items()})
