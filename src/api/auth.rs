//! Who may write, and, with `api.protect_reads`, read: the token, and guards against pages of other sites.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use axum::{
    Json,
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode, header, uri::Authority},
    middleware::Next,
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use subtle::ConstantTimeEq;

use super::problem::{Answer, Problem};
use crate::{
    config,
    error::{Error, Result},
};

/// The cookie of the page's login. It opens reads only: writes take the header, which no other site can send.
const COOKIE: &str = "clay_probe_session";

/// Paths that never ask for the token: health, and the page itself, which holds no data and asks for the token.
const OPEN: [&str; 4] = ["/livez", "/readyz", "/", "/login"];

/// The rules of one server.
#[derive(Clone, Debug)]
pub struct Guard {
    token: Option<Arc<str>>,
    protect_reads: bool,
    listen: SocketAddr,
    hosts: Arc<[String]>,
}

/// Refuses to listen beyond loopback without a token, and to protect reads without one.
pub fn check_listen(config: &config::Api) -> Result<()> {
    let no_token = config.token_file.as_os_str().is_empty();
    if no_token && !config.listen.ip().is_loopback() {
        let message = format!("`api.listen` = `{}` lies beyond loopback, where everyone could write", config.listen);
        return Err(Error::invalid(message).with_hint("set `api.token_file`"));
    }
    if no_token && config.protect_reads {
        return Err(Error::invalid("`api.protect_reads` needs a token").with_hint("set `api.token_file`"));
    }
    Ok(())
}

impl Guard {
    /// Reads the token's file, once. Errors: what [`check_listen`] refuses, a file that cannot be read or is empty.
    pub fn new(config: &config::Api) -> Result<Self> {
        check_listen(config)?;
        let file = &config.token_file;
        let token = if file.as_os_str().is_empty() {
            None
        } else {
            let text = std::fs::read_to_string(file).map_err(Error::io(file))?;
            let token = text.trim();
            if token.is_empty() {
                return Err(Error::invalid(format!("`api.token_file` = `{}` is empty", file.display())));
            }
            Some(token.into())
        };
        let hosts = config.hosts.iter().map(|host| host.to_ascii_lowercase()).collect();
        Ok(Self { token, protect_reads: config.protect_reads, listen: config.listen, hosts })
    }

    fn check(&self, method: &Method, path: &str, headers: &HeaderMap, authority: Option<&Authority>) -> Answer<()> {
        let host = self.check_host(headers, authority)?;
        let reads = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
        if !reads {
            self.check_origin(headers, &host)?;
            check_body_kind(headers)?;
        }
        let open = OPEN.contains(&path) || path.starts_with("/assets/");
        let needs = if reads { self.protect_reads && !open } else { path != "/login" };
        match &self.token {
            Some(token) if needs && !(bears(headers, token) || reads && self.has_session(headers)) => {
                let problem = Problem::new(StatusCode::UNAUTHORIZED, "this needs the server's token");
                Err(problem.with_hint("send `Authorization: Bearer <token>`"))
            }
            _ => Ok(()),
        }
    }

    /// A page of another site can make a browser send requests here under a name of its own, and would read the
    /// answers too. Returns the name.
    fn check_host(&self, headers: &HeaderMap, authority: Option<&Authority>) -> Answer<String> {
        let host = headers.get(header::HOST).and_then(|h| h.to_str().ok()?.parse::<Authority>().ok());
        let host = host.as_ref().or(authority).map(|a| bare(a.host())).unwrap_or_default();
        if self.knows(&host) {
            return Ok(host);
        }
        Err(forbidden(format!("`Host` is `{host}`"), "add that name to `api.hosts`"))
    }

    /// A page of another site can make a browser write here, too.
    fn check_origin(&self, headers: &HeaderMap, host: &str) -> Answer<()> {
        let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
        let origin = origin.to_str().unwrap_or_default();
        let from = origin.split_once("://").and_then(|(_, rest)| rest.parse::<Authority>().ok());
        let from = from.map(|a| bare(a.host())).unwrap_or_default();
        // An address that is known only since we listen on all is known as an origin only where it is the host.
        if from == host || self.knows(&from) && !self.knows_by_wildcard(&from) {
            return Ok(());
        }
        Err(forbidden(format!("`Origin` is `{origin}`"), "add its name to `api.hosts`"))
    }

    fn knows(&self, host: &str) -> bool {
        let address = host.parse::<IpAddr>().ok();
        host == "localhost"
            || self.hosts.iter().any(|h| h == host)
            || address.is_some_and(|a| a.is_loopback() || a == self.listen.ip())
            || self.knows_by_wildcard(host)
    }

    /// Where all addresses are listened on, each may be called by number: only names can be pointed elsewhere.
    fn knows_by_wildcard(&self, host: &str) -> bool {
        let address = host.parse::<IpAddr>().ok();
        self.listen.ip().is_unspecified()
            && address.is_some_and(|a| !a.is_loopback())
            && !self.hosts.iter().any(|h| h == host)
    }

    fn has_session(&self, headers: &HeaderMap) -> bool {
        let Some(token) = &self.token else { return false };
        let cookies = headers.get_all(header::COOKIE).iter().filter_map(|c| c.to_str().ok());
        let mut pairs = cookies.flat_map(|c| c.split(';')).filter_map(|pair| pair.trim().split_once('='));
        pairs.any(|(name, value)| name == COOKIE && same(value, &session(token)))
    }
}

/// The layer in front of all routes.
pub async fn guard(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let uri = request.uri();
    match guard.check(request.method(), uri.path(), request.headers(), uri.authority()) {
        Ok(()) => next.run(request).await,
        Err(problem) => {
            let challenge = (problem.status == 401).then_some([(header::WWW_AUTHENTICATE, "Bearer")]);
            challenge.map_or_else(|| problem.clone().into_response(), |c| (c, problem.clone()).into_response())
        }
    }
}

/// The page's login.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Login {
    token: String,
}

/// Opens reads for the page: gives a cookie that scripts and other sites cannot use.
#[utoipa::path(post, path = "/login", request_body = Login, tag = "service", responses(
    (status = 204, description = "a cookie that opens reads"), (status = 401, body = Problem)))]
pub async fn login(State(guard): State<Guard>, Json(login): Json<Login>) -> Answer<Response> {
    let Some(token) = guard.token.as_deref().filter(|token| same(login.token.trim(), token)) else {
        return Err(Problem::new(StatusCode::UNAUTHORIZED, "that is not the token"));
    };
    let cookie = format!("{COOKIE}={}; HttpOnly; SameSite=Strict; Path=/", session(token));
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie)]).into_response())
}

/// What the cookie holds: it follows from the token, which does not follow from it.
fn session(token: &str) -> String {
    blake3::derive_key("clay-probe 2026 session cookie", token.as_bytes()).iter().map(|b| format!("{b:02x}")).collect()
}

fn bears(headers: &HeaderMap, token: &str) -> bool {
    let given = headers.get(header::AUTHORIZATION).and_then(|h| h.to_str().ok()).unwrap_or_default();
    let (scheme, value) = given.split_once(' ').unwrap_or_default();
    scheme.eq_ignore_ascii_case("bearer") && same(value.trim(), token)
}

/// Compares in a time that does not tell where they differ.
fn same(a: &str, b: &str) -> bool {
    a.as_bytes().ct_eq(b.as_bytes()).into()
}

/// A form of another site can send a body, but not as JSON.
fn check_body_kind(headers: &HeaderMap) -> Answer<()> {
    let text = |name| headers.get(name).and_then(|h| h.to_str().ok());
    let has_body = headers.contains_key(header::TRANSFER_ENCODING)
        || text(header::CONTENT_LENGTH).is_some_and(|length| length != "0");
    let kind = text(header::CONTENT_TYPE).unwrap_or_default();
    let json = kind.split(';').next().is_some_and(|k| k.trim().eq_ignore_ascii_case("application/json"));
    if has_body && !json {
        let detail = format!("a body is `application/json`, not `{kind}`");
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
    }
    Ok(())
}

fn forbidden(detail: String, hint: &str) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, detail).with_hint(hint)
}

/// A host's name without the brackets of IPv6, in lower case.
fn bare(host: &str) -> String {
    host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase()
}
