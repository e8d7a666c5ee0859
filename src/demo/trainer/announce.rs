//! Tells the daemon of a new checkpoint. Training goes on whether it answers or not.

use std::{path::Path, time::Duration};

use serde_json::json;

/// Where and as whom to post.
#[derive(Clone, Debug)]
pub struct Announcer {
    url: String,
    token: Option<String>,
    agent: ureq::Agent,
}

/// The trainer's numbers that go with a checkpoint.
#[derive(Clone, Copy, Debug)]
pub struct Numbers {
    pub epoch: u32,
    pub global_step: u64,
    pub train_loss: f64,
    pub val_loss: f64,
    pub learning_rate: f64,
    pub samples_seen: u64,
}

impl Announcer {
    /// Posts to `<url>/checkpoints`.
    pub fn new(url: &str, token: Option<String>) -> Self {
        // Short, for the trainer waits: the daemon answers at once, and finds the file by itself too.
        let agent = ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(5))).build().into();
        Self { url: format!("{}/checkpoints", url.trim_end_matches('/')), token, agent }
    }

    /// Posts once; a failure is logged and forgotten.
    pub fn announce(&self, path: &Path, run: &str, numbers: &Numbers) {
        let body = json!({
            "path": path, "run": run, "epoch": numbers.epoch, "global_step": numbers.global_step,
            "context": {
                "train_loss": numbers.train_loss, "val_loss": numbers.val_loss,
                "lr": numbers.learning_rate, "samples_seen": numbers.samples_seen,
            },
        });
        let mut request = self.agent.post(&self.url);
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if let Err(error) = request.send_json(&body) {
            tracing::warn!(url = self.url, %error, "the daemon did not take the checkpoint; training goes on");
        }
    }
}
