//! The words of the project: plain types without I/O that every room may use.

mod band;
mod checkpoint;
mod digest;
mod encoder;
mod head;
mod identity;
mod ids;
mod job;
mod metric;
mod names;
mod post;
mod preparation;
mod reason;
mod report;
mod state;
mod words;

pub use band::{Band, LayoutName, Level};
pub use checkpoint::{EncoderShape, Format, Pinned, ValueSource, Via};
pub use digest::Digest;
pub use encoder::{EncoderFacts, Family, Generation, Input, InputMetadata, InputStatistics, TensorCounts};
pub use head::{FitNote, HeadName, HeadSettings};
pub use identity::Identity;
pub use ids::{CheckpointId, EventId, JobId, PointId, ResultId, RunId, Subject};
pub use job::{Failure, Fault, JobKind, Progress, Stage};
pub use metric::{Confusion, Metric, Metrics};
pub use names::{Epoch, ParseNameError, RunName, Seed};
pub use post::{Context, Facts, PostedCheckpoint, PostedPath};
pub use preparation::Preparation;
pub use reason::{DueReason, Reason};
pub use report::{
    ChipRecord, ChipScore, Curve, CurvePoint, DatasetSummary, Fit, Interval, ProbeReport, Protocol, Refusal, Seconds,
    Side, Summary, Versions,
};
pub use state::{Change, Shown, State};
pub use words::UnknownWord;

pub(crate) use words::words;
