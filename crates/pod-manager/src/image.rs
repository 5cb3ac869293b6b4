//! Pulls images before a session needs them.

use std::time::Duration;

use async_trait::async_trait;
use thiserror::Error;

/// Pulls images to where sessions run.
#[async_trait]
pub trait PullImage: Send + Sync + 'static {
    /// Pulls the image, also if it is there already: its tag may name another one by now. Bounded in time.
    /// `report` is given a sentence whenever the pull gets on.
    ///
    /// What is left of an earlier pull, which a router did not end, is removed.
    async fn pull(
        &self,
        image: &str,
        report: &(dyn Fn(String) + Send + Sync),
    ) -> Result<PulledImage, PullError>;
}

/// An image that was pulled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PulledImage {
    /// The node that has it now.
    pub node: String,
    /// How long that took.
    pub duration: Duration,
}

/// Why an image was not pulled.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PullError {
    /// The cluster refuses, or no node can pull the image. The text is a sentence.
    #[error("{0}")]
    Failed(String),
    /// The backend cannot be reached. The text is a sentence.
    #[error("{0}")]
    Unavailable(String),
}
