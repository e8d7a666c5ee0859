//! What asks a running daemon: where it listens, its token, and what it answers.

use std::{path::PathBuf, time::Duration};

use anyhow::Context;
use serde_json::Value;

use crate::error::Error;

/// Which daemon.
#[derive(clap::Args)]
pub struct At {
    /// Where the daemon listens.
    #[arg(long, default_value = "http://127.0.0.1:8080", env = "CLAY_PROBE_URL")]
    url: String,
    /// The file with the server's token, `api.token_file`.
    #[arg(long, value_name = "FILE", env = "CLAY_PROBE_TOKEN_FILE")]
    token_file: Option<PathBuf>,
}

/// Asks a daemon.
pub struct Client {
    agent: ureq::Agent,
    pub url: String,
    authorization: Option<String>,
}

impl Client {
    pub fn new(args: &At) -> anyhow::Result<Self> {
        let authorization = match &args.token_file {
            Some(file) => {
                let token = std::fs::read_to_string(file).with_context(|| format!("`{}`", file.display()))?;
                Some(format!("Bearer {}", token.trim()))
            }
            None => None,
        };
        let settings = ureq::Agent::config_builder().http_status_as_error(false);
        let agent = settings.timeout_global(Some(Duration::from_secs(10))).build().into();
        Ok(Self { agent, url: args.url.trim_end_matches('/').to_owned(), authorization })
    }

    /// A list, or the problem that was answered.
    pub fn list(&self, path: &str, query: &[(&str, &str)]) -> Result<List, Error> {
        let (status, body) = self.get(path, query)?;
        if status != 200 {
            let problem =
                Error::invalid(format!("`{}{path}` answered {status}: {}", self.url, text_of(&body["detail"])));
            let hint =
                if status == 401 { "give the server's token with `--token-file FILE`" } else { "is it clay-probe?" };
            return Err(problem.with_hint(body["hint"].as_str().filter(|_| status != 401).unwrap_or(hint)));
        }
        let items = body["items"].as_array().cloned().unwrap_or_default();
        Ok(List { items, more: !body["next"].is_null() })
    }

    /// Status and body.
    pub fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<(u16, Value), Error> {
        let url = format!("{}{path}", self.url);
        let silent = |error: ureq::Error| {
            Error::not_found(format!("`{url}` does not answer: {error}"))
                .with_hint("is `clay-probe serve` running there? `--url` tells where")
        };
        let mut request = self.agent.get(&url).query_pairs(query.iter().copied());
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        let mut answer = request.call().map_err(silent)?;
        let body = answer.body_mut().read_json().map_err(silent)?;
        Ok((answer.status().as_u16(), body))
    }
}

/// A page of a list.
pub struct List {
    pub items: Vec<Value>,
    pub more: bool,
}

pub fn text_of(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
