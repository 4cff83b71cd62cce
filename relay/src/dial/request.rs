//! One HTTP request, on the same way to the relay that WebSockets take: the same proxies, the same certificates.

use std::time::Duration;

use axum::http::header::{CONNECTION, HOST};
use axum::http::{HeaderValue, Request, Response, Uri};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use super::{DialError, Dialer, Target};

/// A request and its answer together take no longer.
const PATIENCE: Duration = Duration::from_secs(20);

impl Dialer {
    /// Sends a request to the absolute `http` or `https` URL that it names, over a connection of its own, and gives the answer
    /// whose body has at most `longest` bytes. Redirects are answers like others.
    ///
    /// # Errors
    /// [`DialError`], when there is no answer.
    ///
    /// # Cancel safety
    /// The relay may have got the request of a dropped future.
    pub async fn request(
        &self,
        request: Request<Bytes>,
        longest: usize,
    ) -> Result<Response<Bytes>, DialError> {
        let bad = || DialError::BadUrl(crate::printable(&request.uri().to_string()));
        let target = Target::of(request.uri()).ok_or_else(bad)?;
        let at = target.to_string();
        let asked = tokio::time::timeout(PATIENCE, self.ask(&target, request, longest)).await;
        asked.unwrap_or_else(|_| {
            Err(DialError::Unreachable { at, why: "it did not answer in time".to_owned() })
        })
    }

    async fn ask(
        &self,
        target: &Target,
        request: Request<Bytes>,
        longest: usize,
    ) -> Result<Response<Bytes>, DialError> {
        let at = target.to_string();
        let bad = || DialError::BadUrl(at.clone());
        let stream = self.connect(target).await?;
        let failed = |error: hyper::Error| {
            let why = crate::with_causes(&error);
            if error.is_parse() {
                DialError::NoRelay { at: at.clone(), why }
            } else {
                DialError::Unreachable { at: at.clone(), why }
            }
        };
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
        let (mut head, body) = request.into_parts();
        let authority = head.uri.authority().ok_or_else(bad)?.as_str();
        let host = HeaderValue::from_str(authority).map_err(|_| bad())?;
        head.headers.insert(HOST, host);
        head.headers.insert(CONNECTION, HeaderValue::from_static("close"));
        let path = head.uri.path_and_query().cloned();
        head.uri = path.map_or_else(|| Uri::from_static("/"), Uri::from);
        let exchange = async {
            let answer =
                sender.send_request(Request::from_parts(head, Full::new(body))).await.map_err(failed)?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, longest).collect().await.map_err(|error| {
                let why = format!("lost it in mid answer: {error}");
                DialError::Unreachable { at: at.clone(), why }
            })?;
            Ok(Response::from_parts(head, body.to_bytes()))
        };
        tokio::pin!(exchange, connection);
        tokio::select! {
            answer = &mut exchange => answer,
            // It ends once it has given everything to the answer, or has failed and said why there.
            _ = &mut connection => exchange.await,
        }
    }
}
