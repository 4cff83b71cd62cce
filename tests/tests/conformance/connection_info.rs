//! What each side says of its connection, against a peer that has computed it once more.

use ssh_core::Addresses;
use ssh_core::protocol::Role;
use tests::raw_peer::RawPeer;

#[test]
fn rfc4253_7_2_the_session_id_is_the_first_exchange_hash_and_stays() {
    for role in [Role::Client, Role::Server] {
        let mut peer = RawPeer::against(role);
        assert!(peer.engine.connection_info().session_id.as_bytes().is_empty());
        peer.connect();
        let during_login = peer.engine.connection_info();
        assert_eq!(during_login.session_id.as_bytes(), peer.session_id);
        peer.authenticate();
        peer.rekey();
        peer.assert_alive();
        assert_eq!(peer.engine.connection_info().session_id, during_login.session_id);
    }
}

#[test]
fn versions_addresses_and_algorithms_are_known_before_the_login() {
    for role in [Role::Client, Role::Server] {
        let mut peer = RawPeer::against(role).with_version("SSH-2.0-Raw_2.0 with a comment");
        let addresses = Addresses { local: "127.0.0.1:1".parse().ok(), peer: "[::1]:2".parse().ok() };
        peer.engine.set_addresses(addresses);
        peer.connect();
        let info = peer.engine.connection_info();
        let (ours, theirs) = match role {
            Role::Client => (&info.client_version, &info.server_version),
            Role::Server => (&info.server_version, &info.client_version),
        };
        assert_eq!((Some(&**ours), &**theirs), (peer.ident.as_deref(), "SSH-2.0-Raw_2.0 with a comment"));
        assert_eq!((info.role, info.peer_version()), (role, &**theirs));
        assert_eq!(info.addresses, addresses);
        let algorithms = info.algorithms.unwrap();
        assert_eq!((algorithms.kex.name(), algorithms.host_key.name()), ("curve25519-sha256", "ssh-ed25519"));
        for way in [algorithms.client_to_server, algorithms.server_to_client] {
            assert_eq!(way.cipher.name(), "aes256-gcm@openssh.com");
            assert!(way.mac_in_use().is_none(), "the cipher is its own MAC");
        }
    }
}
