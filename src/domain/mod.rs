//! The words of the project: plain types without I/O that every room may use.

mod checkpoint;
mod digest;
mod metric;
mod names;
mod post;
mod report;
mod state;

pub use checkpoint::{EncoderShape, Format, Pinned, ValueSource};
pub use digest::Digest;
pub use metric::{Confusion, Metric, Metrics};
pub use names::{Epoch, ParseNameError, RunName, Seed};
pub use post::{Context, Posted, PostedCheckpoint, PostedPath};
pub use report::{
    ChipRecord, ChipScore, Curve, CurvePoint, DatasetSummary, Failure, Fit, Interval, ProbeReport, Progress, Protocol,
    Refusal, Seconds, Side, Stage, Summary, Versions,
};
pub use state::{Change, CheckpointState, RequestState};
