//! RFC 4256, and the password change of RFC 4252 §8.

use ssh_core::error::PeerMisbehaved;
use ssh_core::protocol::wire::WireError;
use ssh_core::protocol::{Prompts, Refusal, ServerMethod};

use super::*;

fn two() -> Prompts {
    let mut prompts = Prompts::new().instruction("Look at your token").visible("Name: ").secret("PIN: ");
    prompts.name = "Token".into();
    prompts
}

/// INFO_REQUEST with `two`, prompts and flags as `pairs` says.
fn info_request(pairs: bool) -> Vec<u8> {
    let head = [Field::Str("Token"), Field::Str("Look at your token"), Field::Str(""), Field::U32(2)];
    let (name, pin) = (Field::Str("Name: "), Field::Str("PIN: "));
    let tail = if pairs {
        [name, Field::Bool(true), pin, Field::Bool(false)]
    } else {
        [name, pin, Field::Bool(true), Field::Bool(false)]
    };
    message(60, &[head, tail].concat())
}

fn rounds(peer: &RawPeer) -> Vec<Vec<String>> {
    let Some(ServerMethod::KeyboardInteractive { rounds, .. }) =
        peer.asked.last().map(|attempt| &attempt.method)
    else {
        panic!("no conversation")
    };
    rounds.iter().map(|round| round.iter().map(|answer| answer.expose().to_owned()).collect()).collect()
}

#[test]
fn rfc4256_3_2_prompts_and_flags_come_in_pairs_but_not_for_dev_tunnels_peers() {
    for (version, pairs) in [
        ("SSH-2.0-OpenSSH_9.9", true),
        ("SSH-2.0-dev-tunnels-ssh_3.12.42", false),
        ("SSH-2.0-dev-tunnels-ssh-go_0.1", false),
        ("SSH-2.0-Microsoft.DevTunnels.Ssh_3.12", false),
    ] {
        let peer = RawPeer::against(Role::Server).with_version(version);
        let mut peer = in_service(peer.ask_methods(|_| ALL.to_vec()));
        peer.answers.push_back(AuthAnswer::Prompt(two()));
        peer.send(&interactive("ada"));
        assert_eq!(peer.take(60), Some(info_request(pairs)), "{version}");
    }
}

#[test]
fn a_conversation_of_several_rounds() {
    let mut peer = answering([
        AuthAnswer::Prompt(two()),
        AuthAnswer::Prompt(Prompts::new()),
        AuthAnswer::Prompt(Prompts::new().secret("Again: ")),
        AuthAnswer::Accept,
    ]);
    peer.send(&interactive("ada"));
    assert!(rounds(&peer).is_empty());
    peer.send(&answers(&["ada", "1234"]));
    assert_eq!(rounds(&peer), [["ada", "1234"]]);
    // No question is a message to be shown; it is answered with no answer.
    assert_eq!(
        peer.take(60).and(peer.take(60)),
        Some(message(60, &[Field::Str(""), Field::Str(""), Field::Str(""), Field::U32(0)]))
    );
    peer.send(&answers(&[]));
    peer.send(&answers(&["5678"]));
    assert_eq!(rounds(&peer), [vec!["ada".to_owned(), "1234".into()], vec![], vec!["5678".into()]]);
    assert_eq!((peer.authenticated, peer.take(52)), (1, Some(vec![52])));
}

#[test]
fn dev_tunnels_clients_leave_the_fields_of_the_request_out() {
    for payload in [request("ada", "keyboard-interactive", &[]), interactive("ada")] {
        let mut peer = answering([AuthAnswer::Prompt(Prompts::new().secret("?")), AuthAnswer::Accept]);
        peer.send(&payload);
        peer.send(&answers(&["!"]));
        assert_eq!((peer.authenticated, rounds(&peer)), (1, vec![vec!["!".to_owned()]]));
    }
    let mut peer = server();
    peer.send(&request("ada", "keyboard-interactive", &[Field::Str(""), Field::Str("otp,pam")]));
    let ServerMethod::KeyboardInteractive { submethods, .. } = &peer.asked[0].method else {
        panic!("no conversation")
    };
    assert_eq!(submethods, "otp,pam");
}

#[test]
fn rfc4256_3_4_another_number_of_answers_is_a_failure() {
    for wrong in [&[][..], &["one"], &["one", "two", "three"]] {
        let mut peer = answering([AuthAnswer::Prompt(two())]);
        peer.send(&interactive("ada"));
        peer.send(&answers(wrong));
        peer.wait(DELAY);
        assert_eq!(peer.refused, [Refusal::Answers]);
        assert_eq!((peer.asked.len(), peer.take(51)), (1, Some(failure(EVERY, false))));
    }
}

#[test]
fn a_count_of_answers_is_not_believed() {
    for count in [u32::MAX, 1 << 31, 3] {
        let mut peer = answering([AuthAnswer::Prompt(two())]);
        peer.send(&interactive("ada"));
        peer.send(&message(61, &[Field::U32(count), Field::Str("one")]));
        peer.wait(DELAY);
        assert_eq!(peer.refused, [Refusal::Answers]);
    }
    for (payload, rule) in [
        (message(61, &[Field::U32(2), Field::Str("one")]), WireError::Truncated),
        (
            message(61, &[Field::U32(2), Field::Str("1"), Field::Str("2"), Field::Str("3")]),
            WireError::Trailing,
        ),
        (message(61, &[Field::U32(2), Field::Str("1"), Field::Bytes(b"\xff")]), WireError::NotUtf8),
        (message(61, &[Field::U32(2), Field::Str("1"), Field::Str(&"x".repeat(1025))]), WireError::TooLong),
    ] {
        let mut peer = answering([AuthAnswer::Prompt(two())]);
        peer.send(&interactive("ada"));
        peer.send(&payload);
        peer.assert_refused(PeerMisbehaved::Malformed(rule), 2);
    }
}

#[test]
fn rounds_without_end_come_to_an_end() {
    let mut peer = server();
    peer.answer = Some(AuthAnswer::Prompt(Prompts::new().secret("?")));
    let mut sent = 0;
    while peer.error().is_none() {
        if peer.take(60).is_some() {
            peer.send(&answers(&["!"]));
        } else {
            peer.send(&interactive("ada"));
        }
        peer.wait(DELAY);
        sent += 1;
        assert!(sent <= 41, "the rounds never end");
    }
    assert_eq!(peer.refused, [Refusal::Rounds, Refusal::Rounds]);
    peer.assert_refused(PeerMisbehaved::TooManyAuthAttempts, 14);
}

#[test]
fn rfc4252_5_1_another_request_ends_the_conversation() {
    let mut peer = answering([AuthAnswer::Prompt(two()), AuthAnswer::Accept]);
    peer.send(&interactive("ada"));
    peer.send(&request("ada", "password", &[Field::Bool(false), Field::Str("secret")]));
    assert_eq!(
        (peer.authenticated, peer.attempts.as_slice()),
        (1, &["ada keyboard-interactive".to_owned(), "ada password".into()][..])
    );

    // What was asked of one user is not answered for another.
    let mut peer = answering([
        AuthAnswer::Prompt(two()),
        AuthAnswer::Prompt(Prompts::new().secret("?")),
        AuthAnswer::Accept,
    ]);
    peer.send(&interactive("ada"));
    peer.send(&interactive("bob"));
    peer.send(&answers(&["!"]));
    assert_eq!((peer.asked[2].user.as_str(), rounds(&peer)), ("bob", vec![vec!["!".to_owned()]]));
}

#[test]
fn answers_that_nobody_asked_for_end_the_session() {
    // Before any attempt, while one is undecided, after the last answer, while a failure is delayed.
    let mut peer = server();
    peer.send(&answers(&["x"]));
    peer.assert_refused(PeerMisbehaved::UnexpectedMessage(61), 2);
    let mut peer = server();
    peer.send(&interactive("ada"));
    peer.send(&answers(&["x"]));
    peer.assert_refused(PeerMisbehaved::UnexpectedMessage(61), 2);
    let mut peer = answering([AuthAnswer::Prompt(two()), AuthAnswer::Reject]);
    peer.send(&interactive("ada"));
    peer.send(&answers(&["1", "2"]));
    peer.send(&answers(&["1", "2"]));
    peer.assert_refused(PeerMisbehaved::UnexpectedMessage(61), 2);
    let mut peer = answering([AuthAnswer::Prompt(two()), AuthAnswer::Partial(vec![Method::Password])]);
    peer.send(&interactive("ada"));
    peer.send(&answers(&["1", "2"]));
    assert_eq!(peer.take(51), Some(failure("password", true)));
    peer.send(&answers(&["1", "2"]));
    peer.assert_refused(PeerMisbehaved::UnexpectedMessage(61), 2);
}

#[test]
fn an_application_cannot_ask_too_much() {
    let many = (0..33).fold(Prompts::new(), |prompts, _| prompts.secret("?"));
    let long = Prompts::new().secret("?".repeat(17_000));
    for prompts in [many, long] {
        let mut peer = answering([AuthAnswer::Prompt(prompts)]);
        peer.send(&interactive("ada"));
        peer.wait(DELAY);
        assert_eq!((peer.refused.as_slice(), peer.count(51)), (&[Refusal::Misdecided][..], 1));
    }
}

#[test]
fn a_decision_that_does_not_fit_the_method_is_a_refusal() {
    let password = || request("ada", "password", &[Field::Bool(false), Field::Str("x")]);
    for (payload, answer) in [
        (password(), AuthAnswer::Prompt(two())),
        (none("ada"), AuthAnswer::ChangePassword("now".into())),
        (interactive("ada"), AuthAnswer::ChangePassword("now".into())),
        (key_request(false, "ada", "ssh-ed25519", &key().public_key().to_blob()), AuthAnswer::Prompt(two())),
    ] {
        let mut peer = answering([answer]);
        peer.send(&payload);
        peer.wait(DELAY);
        assert_eq!((peer.refused.as_slice(), peer.count(51)), (&[Refusal::Misdecided][..], 1));
        assert_eq!((peer.authenticated, peer.count(60)), (0, 0));
    }
}

// ---- A password that has to be changed ---------------------------------------------------------------

fn change(old: &str, new: &str) -> Vec<u8> {
    request("ada", "password", &[Field::Bool(true), Field::Str(old), Field::Str(new)])
}

#[test]
fn rfc4252_8_a_password_is_changed() {
    let mut peer = answering([
        AuthAnswer::ChangePassword("It is old.".into()),
        AuthAnswer::ChangePassword("Too short.".into()),
        AuthAnswer::Accept,
    ]);
    peer.send(&request("ada", "password", &[Field::Bool(false), Field::Str("old")]));
    assert_eq!(peer.take(60), Some(message(60, &[Field::Str("It is old."), Field::Str("")])));
    peer.send(&change("old", "new"));
    assert_eq!(peer.take(60), Some(message(60, &[Field::Str("Too short."), Field::Str("")])));
    peer.send(&change("old", "newer"));
    assert_eq!((peer.authenticated, peer.take(52)), (1, Some(vec![52])));
    let ServerMethod::PasswordChange { old, new } = &peer.asked[2].method else { panic!("a change") };
    assert_eq!((old.expose(), new.expose()), ("old", "newer"));
}

#[test]
fn a_password_change_can_be_refused_and_stands_for_no_password() {
    let mut peer = answering([AuthAnswer::Reject]);
    peer.send(&change("old", "new"));
    peer.wait(DELAY);
    assert_eq!((peer.authenticated, peer.take(51)), (0, Some(failure(EVERY, false))));
    assert_eq!(peer.attempts, ["ada change"]);
    // The flag and the fields have to agree.
    for (payload, rule) in [
        (request("ada", "password", &[Field::Bool(true), Field::Str("old")]), WireError::Truncated),
        (
            request("ada", "password", &[Field::Bool(false), Field::Str("old"), Field::Str("new")]),
            WireError::Trailing,
        ),
    ] {
        let mut peer = server();
        peer.send(&payload);
        peer.assert_refused(PeerMisbehaved::Malformed(rule), 2);
        assert!(peer.asked.is_empty());
    }
}
