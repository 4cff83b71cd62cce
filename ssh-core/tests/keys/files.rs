use ssh_core::keys::{KeyFileError, KeyFormatError, KeyPair, Overwrite, PrivateKey};

fn pair() -> KeyPair {
    KeyPair::new(PrivateKey::Ed25519 { seed: [3; 32].into(), public: [7; 32] }, "me")
}

#[test]
fn a_file_is_not_overwritten_unless_asked() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("new/dir/key");
    pair().write_file(&path, None, Overwrite::Refuse).unwrap();
    let before = std::fs::read(&path).unwrap();
    let error = pair().write_file(&path, None, Overwrite::Refuse).unwrap_err();
    assert!(matches!(error, KeyFileError::Exists { .. }), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), before);
    pair().write_file(&path, None, Overwrite::Allow).unwrap();
    // The check ints are fresh.
    assert_ne!(std::fs::read(&path).unwrap(), before);
    pair().write_public_file(path.with_extension("pub"), Overwrite::Refuse).unwrap();
    let names: Vec<_> =
        std::fs::read_dir(path.parent().unwrap()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "no temporary file is left: {names:?}");
}

#[cfg(unix)]
#[test]
fn modes_are_private_and_open_files_are_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("new/key");
    pair().write_file(&path, None, Overwrite::Refuse).unwrap();
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    for (mode, shown) in [(0o640, "0640"), (0o604, "0604"), (0o610, "0610")] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let message = KeyPair::read_file(&path, None).unwrap_err().to_string();
        for part in [path.to_str().unwrap(), shown, "chmod 600"] {
            assert!(message.contains(part), "{message}");
        }
    }
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o400)).unwrap();
    KeyPair::read_file(&path, None).unwrap();
    // Nobody is told to shut away a public key.
    let public = dir.path().join("new/key.pub");
    pair().write_public_file(&public, Overwrite::Refuse).unwrap();
    let refused = KeyPair::read_file(&public, None).unwrap_err();
    assert!(matches!(refused, KeyFileError::Format { source: KeyFormatError::IsPublic, .. }), "{refused}");
}

#[test]
fn what_is_no_key_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let missing = KeyPair::read_file(dir.path().join("missing"), None).unwrap_err();
    assert!(matches!(missing, KeyFileError::Io { .. }) && missing.to_string().contains("missing"));
    assert!(matches!(KeyPair::read_file(dir.path(), None), Err(KeyFileError::NotAFile { .. })));
    let path = dir.path().join("large");
    pair().write_file(&path, None, Overwrite::Refuse).unwrap();
    std::fs::write(&path, vec![b'x'; 300_000]).unwrap();
    assert!(matches!(KeyPair::read_file(&path, None), Err(KeyFileError::TooLarge { .. })));
    std::fs::write(&path, "x").unwrap();
    assert!(matches!(KeyPair::read_file(&path, None), Err(KeyFileError::Format { .. })));
}
