//! A relay inside a program, with everything in memory:
//!
//!     cargo run -p relay --example embed -- 127.0.0.1:8080
//!
//! Then give any Dev Tunnels SDK the printed URL, with `Bearer SECRET` for the user's token.

use relay::config::AdminToken;
use relay::{Config, Relay, Server};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).init();
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:0".into());
    let mut config = Config::default();
    config.admin_token = AdminToken::new("an-example-secret");
    let relay = Relay::new(config)?;
    let server = Server::bind(relay, address.parse()?).await?;
    println!("http://{} (Bearer an-example-secret)", server.local_addr()?);
    server.run().await;
    Ok(())
}
