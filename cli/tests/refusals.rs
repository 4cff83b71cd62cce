//! A relay that refuses, and what is no relay, have the same exit codes whatever was asked for.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests are tests")]
#![allow(dead_code, reason = "this file does not use everything that the helpers can do")]

mod support;
mod web_server;

use support::Home;
use web_server::web_server;

#[tokio::test]
async fn a_status_has_one_exit_code() {
    let home = Home::new();
    let page = "Content-Type: text/html";
    let problem = "Content-Type: application/problem+json";
    let plain = "Content-Type: text/plain";
    for (status, code, words) in [
        (format!("200 OK\r\n{page}"), 9, "is no relay"),
        (format!("301 Moved\r\nLocation: https://x.example/\r\n{page}"), 9, "https://x.example/"),
        (format!("302 Found\r\n{page}"), 9, "is no relay"),
        (format!("404 Not Found\r\n{page}"), 9, "is no relay"),
        (format!("401 Unauthorized\r\n{problem}"), 3, "(401)"),
        (format!("404 Not Found\r\n{problem}"), 7, "(404)"),
        (format!("429 Too Many Requests\r\n{plain}"), 5, "try again"),
        (format!("500 Internal Server Error\r\n{plain}"), 5, "try again"),
        (format!("503 Service Unavailable\r\n{page}"), 5, "try again"),
    ] {
        let url = web_server(&status, "").await;
        let link = format!("{url}/t/abc");
        for command in
            [&["tunnel", "list", "--relay", &url][..], &["connect", &link, "--allow-unpinned-host"]]
        {
            let exit = home.run(command).await;
            assert_eq!(exit.code, Some(code), "{status} {exit:?}");
            assert!(exit.stderr.contains(words), "{status} {exit:?}");
            assert_eq!(code == 9, exit.stderr.contains("http:// or with https://"), "{exit:?}");
        }
    }
}

#[tokio::test]
async fn a_refusal_names_the_option_that_is_at_fault() {
    let body = r#"{"status":400,"detail":"has to be less","errors":{"expiresIn":["has to be less"]}}"#;
    let url = web_server("400 Bad Request\r\nContent-Type: application/problem+json", body).await;
    let exit = Home::new()
        .run(&["token", "create", "--subject", "ada", "--expires", "10000d", "--relay", &url])
        .await;
    assert_eq!(exit.code, Some(7), "{exit:?}");
    assert!(exit.stderr.contains("--expires has to be less"), "{exit:?}");
}
