//! The static list against servers that want several things: RFC 4252 §5.1.

use super::support::{builder, credential, log_in, steps};

/// All orders of these.
fn permutations(items: &[&'static str]) -> Vec<Vec<&'static str>> {
    if items.is_empty() {
        return vec![vec![]];
    }
    let mut all = Vec::new();
    for (at, first) in items.iter().enumerate() {
        let rest: Vec<_> = [&items[..at], &items[at + 1..]].concat();
        for mut order in permutations(&rest) {
            order.insert(0, first);
            all.push(order);
        }
    }
    all
}

#[tokio::test]
async fn every_order_of_keys_password_and_prompts_leads_in_whatever_the_order_of_the_list() {
    const ALL: [&str; 4] = ["key A", "key B", "password secret", "answers 42"];
    for wanted in permutations(&ALL) {
        let server: Vec<&[&str]> = wanted.iter().map(std::slice::from_ref).collect();
        for list in permutations(&ALL) {
            let mut config = builder();
            for item in &list {
                config = config.authenticate(credential(item));
            }
            let login = log_in(config.build().unwrap(), steps(&server)).await;
            assert!(login.result.is_ok(), "{wanted:?} {list:?}: {:?}", login.script());
            // Each proof is given once, in the server's order; nothing that was right is said again.
            let proofs: Vec<_> =
                login.script().into_iter().filter(|said| ALL.contains(&said.as_str())).collect();
            assert_eq!(proofs, wanted, "{list:?}");
            // A key may be asked about once in each step that takes keys, anything else is sent once.
            assert!(login.said.len() <= 1 + 4 + 1 + 2 * 2 + 2, "{wanted:?} {list:?}: {:?}", login.script());
        }
    }
}

#[tokio::test]
async fn what_is_missing_is_not_made_up() {
    const ALL: [&str; 4] = ["key A", "key B", "password secret", "answers 42"];
    for wanted in permutations(&ALL) {
        let server: Vec<&[&str]> = wanted.iter().map(std::slice::from_ref).collect();
        for missing in ALL {
            let mut config = builder();
            for item in ALL.into_iter().filter(|item| *item != missing) {
                config = config.authenticate(credential(item));
            }
            let login = log_in(config.build().unwrap(), steps(&server)).await;
            assert!(login.result.is_err(), "{wanted:?} without {missing}");
            assert_eq!(login.script().last().map(String::as_str), Some("disconnect 14"));
            assert!(login.said.len() < 16, "{:?}", login.script());
        }
    }
}

#[tokio::test]
async fn a_method_that_the_server_does_not_take_is_not_tried() {
    let config = builder().authenticate(credential("password x")).authenticate(credential("key A"));
    let login = log_in(config.build().unwrap(), steps(&[&["key A"]])).await;
    login.assert_in(&["none", "query A", "key A"]);
}

#[tokio::test]
async fn none_is_first_and_may_be_enough() {
    let config = builder().authenticate(credential("password x")).build().unwrap();
    let login = log_in(config, |_| vec![tests::scripted_server::success()]).await;
    login.assert_in(&["none"]);
}

#[tokio::test]
async fn the_second_of_three_keys() {
    let mut config = builder();
    for name in ["key A", "key B", "key C"] {
        config = config.authenticate(credential(name));
    }
    let login = log_in(config.build().unwrap(), steps(&[&["key B"]])).await;
    login.assert_in(&["none", "query A", "query B", "key B"]);
}

#[tokio::test]
async fn password_then_a_specific_key() {
    let config = builder().authenticate(credential("key A")).authenticate(credential("key B"));
    let config = config.authenticate(credential("password secret"));
    let login = log_in(config.build().unwrap(), steps(&[&["password secret"], &["key B"]])).await;
    login.assert_in(&["none", "password secret", "query A", "query B", "key B"]);
}

#[tokio::test]
async fn a_key_refused_before_a_partial_success_is_tried_after_it_but_a_password_is_not() {
    let mut config = builder();
    for item in ["password wrong", "key B", "key A"] {
        config = config.authenticate(credential(item));
    }
    let server: [&[&str]; 2] = [&["key A", "password other"], &["key B", "password other"]];
    let login = log_in(config.build().unwrap(), steps(&server)).await;
    login.assert_in(&["none", "password wrong", "query B", "query A", "key A", "query B", "key B"]);
}
