use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use ssh_core::keys::{
    AuthorizedKeys, Curve, Fingerprint, HostKeyStatus, KeyError, KeyFormatError, KeyKind, KeyPair,
    KnownHosts, LoginFacts, PrivateKey, PublicKey, PublicLine, openssh,
};
use ssh_core::protocol::wire::Write as _;

use crate::tools::{key, parts};

const SEED: [u8; 32] = [3; 32];
const PUBLIC: [u8; 32] = [7; 32];

fn facts() -> LoginFacts {
    LoginFacts { source: Some([127, 0, 0, 1].into()), now: std::time::UNIX_EPOCH }
}

/// The parts of a file, each of which a case may spoil.
struct File {
    magic: Vec<u8>,
    cipher: &'static str,
    kdf: &'static str,
    options: Vec<u8>,
    count: u32,
    public: Vec<u8>,
    section: Vec<u8>,
    behind: Vec<u8>,
}

impl File {
    fn sound() -> Self {
        Self {
            magic: b"openssh-key-v1\0".to_vec(),
            cipher: "none",
            kdf: "none",
            options: vec![],
            count: 1,
            public: PublicKey::Ed25519(PUBLIC).to_blob(),
            section: section(&ed25519_fields(&[SEED, PUBLIC].concat()), 8),
            behind: vec![],
        }
    }

    fn encrypted(rounds: u32) -> Self {
        let mut options = vec![];
        options.put_string(&[1; 16]);
        options.put_u32(rounds);
        Self { cipher: "aes256-ctr", kdf: "bcrypt", options, section: vec![0; 160], ..Self::sound() }
    }

    fn body(&self) -> Vec<u8> {
        let mut out = self.magic.clone();
        out.put_string(self.cipher.as_bytes());
        out.put_string(self.kdf.as_bytes());
        out.put_string(&self.options);
        out.put_u32(self.count);
        out.put_string(&self.public);
        out.put_string(&self.section);
        out.put_bytes(&self.behind);
        out
    }

    fn parse(&self) -> Result<KeyPair, KeyFormatError> {
        KeyPair::parse(armored(&self.body()).as_bytes(), Some(b"pass"))
    }

    fn error(&self) -> KeyFormatError {
        self.parse().unwrap_err()
    }
}

fn armored(body: &[u8]) -> String {
    format!(
        "-----BEGIN OPENSSH PRIVATE KEY-----\n{}\n-----END OPENSSH PRIVATE KEY-----\n",
        STANDARD.encode(body)
    )
}

fn ed25519_fields(private: &[u8]) -> Vec<u8> {
    let mut out = vec![];
    out.put_string(b"ssh-ed25519");
    out.put_string(&PUBLIC);
    out.put_string(private);
    out
}

fn ecdsa_fields(curve: Curve, point: &[u8], d: &[u8]) -> Vec<u8> {
    let mut out = vec![];
    out.put_string(format!("ecdsa-sha2-{}", curve.name()).as_bytes());
    out.put_string(curve.name().as_bytes());
    out.put_string(point);
    out.put_string(d);
    out
}

fn section(fields: &[u8], block: usize) -> Vec<u8> {
    let mut out = vec![5; 8];
    out.put_bytes(fields);
    out.put_string(b"me");
    let padding = out.len().next_multiple_of(block) - out.len();
    out.extend((1..=u8::MAX).take(padding));
    out
}

#[test]
fn the_sound_file_is_read() {
    let pair = File::sound().parse().unwrap();
    assert_eq!(parts(&pair), (PublicKey::Ed25519(PUBLIC).to_blob(), vec![SEED.to_vec()]));
    assert_eq!(pair.comment, "me");
    assert!(!format!("{pair:?}").contains("3, 3"));
}

#[test]
fn every_spoiled_part_is_named() {
    let mismatch = KeyFormatError::Mismatch;
    let case = |spoil: fn(&mut File)| {
        let mut file = File::sound();
        spoil(&mut file);
        file.error()
    };
    assert!(matches!(case(|f| f.magic[13] = b'2'), KeyFormatError::UnknownFormat(_)));
    assert!(matches!(case(|f| f.cipher = "blowfish-cbc"), KeyFormatError::UnsupportedCipher(_)));
    assert!(matches!(case(|f| f.kdf = "bcrypt"), KeyFormatError::UnsupportedKdf(_)));
    assert!(matches!(case(|f| f.options = vec![0]), KeyFormatError::UnsupportedKdf(_)));
    assert!(matches!(case(|f| f.cipher = "aes256-ctr"), KeyFormatError::UnsupportedKdf(_)));
    for count in [0, 2, u32::MAX] {
        let file = File { count, ..File::sound() };
        assert_eq!(file.error(), KeyFormatError::NotOneKey(count));
    }
    assert!(matches!(case(|f| f.behind = vec![0]), KeyFormatError::Key(KeyError::Wire(_))));
    assert_eq!(case(|f| f.public = PublicKey::Ed25519([8; 32]).to_blob()), mismatch);
    assert_eq!(case(|f| f.section[0] ^= 1), mismatch);
    let halves = [[3; 32], [8; 32]].concat();
    assert_eq!(File { section: section(&ed25519_fields(&halves), 8), ..File::sound() }.error(), mismatch);
    for len in [0, 31, 32, 63, 65, 96] {
        let file = File { section: section(&ed25519_fields(&vec![7; len]), 8), ..File::sound() };
        assert!(file.parse().is_err(), "{len}");
    }
    // Padding: wrong bytes, too much, too little.
    assert_eq!(case(|f| *f.section.last_mut().unwrap() ^= 1), KeyFormatError::BadArmor);
    assert_eq!(case(|f| f.section.extend(1..=8)), KeyFormatError::BadArmor);
    assert_eq!(case(|f| f.section.truncate(f.section.len() - 1)), KeyFormatError::BadArmor);
    let mut unknown = vec![];
    unknown.put_string(b"ssh-dss");
    let file = File { section: section(&unknown, 8), ..File::sound() };
    assert_eq!(file.error(), KeyFormatError::UnsupportedType("ssh-dss".into()));
}

#[test]
fn kdf_rounds_are_refused_before_they_are_done() {
    for rounds in [openssh::DEFAULT_KDF_ROUNDS_LIMIT + 1, 1 << 31, u32::MAX] {
        let limit = openssh::DEFAULT_KDF_ROUNDS_LIMIT;
        assert_eq!(File::encrypted(rounds).error(), KeyFormatError::TooManyRounds { rounds, limit });
        let text = armored(&File::encrypted(rounds).body());
        if rounds > openssh::MAX_KDF_ROUNDS {
            let error = openssh::parse(text.as_bytes(), Some(b"pass"), u32::MAX).unwrap_err();
            assert_eq!(error, KeyFormatError::TooManyRounds { rounds, limit: openssh::MAX_KDF_ROUNDS });
        }
    }
    assert!(matches!(File::encrypted(0).error(), KeyFormatError::UnsupportedKdf(_)));
    assert_eq!(File::encrypted(1).error(), KeyFormatError::WrongPassphrase);
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    for file in [File::sound(), File::encrypted(1)] {
        let body = file.body();
        for len in 0..body.len() {
            assert!(KeyPair::parse(armored(&body[..len]).as_bytes(), Some(b"pass")).is_err(), "{len}");
        }
    }
    let text = armored(&File::sound().body());
    for len in 0..text.len() - 1 {
        assert!(KeyPair::parse(&text.as_bytes()[..len], None).is_err(), "{len}");
    }
}

#[test]
fn huge_lengths_anywhere_are_refused() {
    let body = File::sound().body();
    for at in 15..body.len() - 4 {
        for len in [u32::MAX, 1 << 31, 0x7fff_ffff, 0x10_0000] {
            let mut body = body.clone();
            body[at..at + 4].copy_from_slice(&len.to_be_bytes());
            // The seed and the comment may be any bytes, so some of these are other keys; what they must not be is slow
            // or a panic.
            if let Ok(pair) = KeyPair::parse(armored(&body).as_bytes(), None) {
                assert_eq!(pair.public_key(), PublicKey::Ed25519(PUBLIC), "{at}");
            }
        }
    }
}

#[test]
fn an_ecdsa_scalar_is_read_with_and_without_its_sign_byte() {
    for curve in [Curve::P256, Curve::P384, Curve::P521] {
        let mut point = vec![9; curve.field_len() * 2 + 1];
        point[0] = 4;
        let public = PublicKey::ecdsa(curve, &point).unwrap().to_blob();
        let with = |d: &[u8]| {
            let section = section(&ecdsa_fields(curve, &point, d), 8);
            File { public: public.clone(), section, ..File::sound() }.parse()
        };
        let full = vec![0x80; curve.field_len()];
        let signed = [&[0][..], &full].concat();
        let short = vec![0x80; curve.field_len() - 2];
        let padded = [&[0, 0][..], &short].concat();
        assert_eq!(parts(&with(&full).unwrap()).1.concat(), full);
        assert_eq!(parts(&with(&signed).unwrap()).1.concat(), full);
        assert_eq!(parts(&with(&short).unwrap()).1.concat(), padded);
        // What we write again must be an mpint, or OpenSSH calls it negative.
        let text = with(&full).unwrap().to_openssh(None).unwrap();
        assert_eq!(parts(&KeyPair::parse(text.as_bytes(), None).unwrap()).1.concat(), full);
        for bad in [&[][..], &[0; 10], &[&[1][..], &full].concat()] {
            assert!(with(bad).is_err());
        }
    }
}

#[test]
fn rsa_numbers_must_belong_together() {
    let pair = key(KeyKind::Rsa);
    let PrivateKey::Rsa { e, n, d, p, q, iqmp } = &pair.private else { unreachable!() };
    let public = pair.public_key().to_blob();
    let with = |order: [&[u8]; 6]| {
        let mut fields = vec![];
        fields.put_string(b"ssh-rsa");
        for number in order {
            fields.put_mpint(number);
        }
        File { public: public.clone(), section: section(&fields, 8), ..File::sound() }.parse()
    };
    let off = |number: &[u8], at: usize| {
        let mut number = number.to_vec();
        number[at] ^= 2;
        number
    };
    let last = |number: &[u8]| off(number, number.len() - 1);
    let sound: [&[u8]; 6] = [n, e, d, iqmp, p, q];
    assert_eq!(parts(&with(sound).unwrap()), parts(pair));
    // e and n swapped, as they are in a public blob.
    assert!(with([e, n, d, iqmp, p, q]).is_err());
    // The primes swapped: the coefficient is then of the wrong one.
    assert_eq!(with([n, e, d, iqmp, q, p]).unwrap_err(), KeyFormatError::Mismatch);
    let spoiled = |at: usize, number: &[u8]| {
        let mut order = sound;
        order[at] = number;
        assert_eq!(with(order).unwrap_err(), KeyFormatError::Mismatch, "{at}");
    };
    for (at, number) in sound.into_iter().enumerate() {
        spoiled(at, &last(number));
        spoiled(at, &off(number, number.len() / 2));
        if at > 1 {
            spoiled(at, &[]);
            spoiled(at, &[1]);
            spoiled(at, &[3; 20_000]);
            spoiled(at, n);
        }
    }
    spoiled(1, &[3]);
}

#[test]
fn several_keys_and_trailing_text_are_refused() {
    let text = armored(&File::sound().body());
    for behind in [&text[..], "x", "-----BEGIN X-----\n"] {
        assert_eq!(
            KeyPair::parse(format!("{text}{behind}").as_bytes(), None).unwrap_err(),
            KeyFormatError::Trailing
        );
    }
    assert!(KeyPair::parse(format!("{text}\r\n \n").as_bytes(), None).is_ok());
    let crlf = text.replace('\n', "\r\n");
    assert!(KeyPair::parse(crlf.as_bytes(), None).is_ok());
    assert_eq!(KeyPair::parse(&vec![b'\n'; 300_000], None).unwrap_err(), KeyFormatError::TooLong);
}

#[test]
fn an_empty_passphrase_does_not_write_a_key_in_the_clear() {
    let pair = File::sound().parse().unwrap();
    assert_eq!(pair.to_openssh(Some(b"")).unwrap_err(), KeyFormatError::EmptyPassphrase);
    let text = pair.to_openssh(Some(b"x")).unwrap();
    assert_eq!(KeyPair::parse(text.as_bytes(), None).unwrap_err(), KeyFormatError::PassphraseNeeded);
}

fn any_private_key() -> impl Strategy<Value = PrivateKey> {
    let ed25519 = any::<([u8; 32], [u8; 32])>()
        .prop_map(|(seed, public)| PrivateKey::Ed25519 { seed: seed.into(), public });
    let curves = prop_oneof![Just(Curve::P256), Just(Curve::P384), Just(Curve::P521)];
    let ecdsa = (curves, any::<[[u8; 66]; 3]>()).prop_map(|(curve, [x, y, mut d])| {
        let len = curve.field_len();
        d[len - 1] |= 1;
        let point = [&[4][..], &x[..len], &y[..len]].concat().into();
        PrivateKey::Ecdsa { curve, d: Box::<[u8]>::from(&d[..len]).into(), point }
    });
    prop_oneof![ed25519, ecdsa]
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(key in any_private_key(), comment in ".{0,40}") {
        let pair = KeyPair::new(key, &comment);
        let text = pair.to_openssh(None).unwrap();
        let again = KeyPair::parse(text.as_bytes(), None).unwrap();
        prop_assert_eq!(parts(&again), parts(&pair));
        prop_assert_eq!(&again.comment, &pair.comment);

        let line = pair.public_line();
        prop_assert_eq!(line.to_string().lines().count(), 1);
        let read: PublicLine = line.to_string().parse().unwrap();
        prop_assert_eq!(&read, &line);
        let fingerprint: Fingerprint = line.key.fingerprint().to_string().parse().unwrap();
        prop_assert_eq!(fingerprint, line.key.fingerprint());
        let user = AuthorizedKeys::parse(line.to_string().as_bytes(), "f");
        prop_assert!(user.find(&line.key, facts()).is_ok());
        let host = KnownHosts::parse(format!("host {line}").as_bytes(), "f");
        prop_assert!(matches!(host.check("host", 22, &line.key), HostKeyStatus::Match(_)));
    }

    #[test]
    fn noise_never_panics(noise in proptest::collection::vec(any::<u8>(), 0..600)) {
        drop(KeyPair::parse(&noise, None));
        drop(PublicLine::parse(&noise));
        let key = PublicKey::Ed25519(PUBLIC);
        let _ = KnownHosts::parse(&noise, "f").check("host", 22, &key);
        let _ = AuthorizedKeys::parse(&noise, "f").find(&key, facts());
        for label in ["OPENSSH PRIVATE KEY", "PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"] {
            let text = format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(&noise));
            drop(KeyPair::parse(text.as_bytes(), Some(b"pass")));
        }
    }

    #[test]
    fn noise_like_text_never_panics(text in "[ -~\\n\\t|*!?,@\"\\\\]{0,300}", host in "\\PC{0,20}", port in any::<u16>()) {
        let key = PublicKey::Ed25519(PUBLIC);
        let _ = KnownHosts::parse(text.as_bytes(), "f").check(&host, port, &key);
        let _ = AuthorizedKeys::parse(format!("{text} {}", PublicLine::new(key.clone(), "")).as_bytes(), "f")
            .find(&key, facts());
        let _ = KnownHosts::parse(format!("{text} {}", PublicLine::new(key.clone(), "")).as_bytes(), "f")
            .check(&host, port, &key);
        let _ = text.parse::<Fingerprint>();
    }

    #[test]
    fn a_file_with_a_flipped_byte_is_refused_or_the_same_key(at in 0_usize..200, flip in 1_u8..) {
        let mut body = File::sound().body();
        let at = at % body.len();
        body[at] ^= flip;
        if let Ok(pair) = KeyPair::parse(armored(&body).as_bytes(), None) {
            prop_assert_eq!(pair.public_key(), PublicKey::Ed25519(PUBLIC));
        }
    }
}
