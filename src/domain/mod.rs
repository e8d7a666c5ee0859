//! The words of the project: plain types without I/O that every room may use.

mod band;
mod checkpoint;
mod control;
mod dataset;
mod digest;
mod encoder;
mod head;
mod identity;
mod ids;
mod job;
mod line;
mod metric;
mod names;
mod post;
mod preparation;
mod reason;
mod report;
mod state;
mod summary;
mod words;

pub use band::{Band, LayoutName, Level};
pub use checkpoint::{Format, Pinned, ValueSource, Via};
pub use control::{ControlDraw, ControlName, ControlReport, ControlScore, ControlStep};
pub use dataset::{ChipRecord, DatasetSummary, Refusal};
pub use digest::Digest;
pub use encoder::{EncoderFacts, Family, Generation, Input, InputMetadata, InputStatistics, TensorCounts};
pub use head::{FitNote, HeadName, HeadSettings};
pub use identity::Identity;
pub use ids::{CheckpointId, EventId, HeadId, JobId, PointId, ResultId, RunId, Subject};
pub use job::{Failure, Fault, JobKind, Progress, Stage};
pub use line::{Basis, ChangedWord, LineFacts, LineKey, head_folder};
pub use metric::{Confusion, Metric, Metrics};
pub use names::{Epoch, ParseNameError, RunName, Seed};
pub use post::{Context, Facts, PostedCheckpoint, PostedPath};
pub use preparation::Preparation;
pub use reason::{DueReason, Reason};
pub use report::{
    ChipScore, Curve, CurvePoint, EventScore, Fit, HeadReport, ProbeReport, Seconds, SeedScore, Side, Versions,
};
pub use state::{Change, Shown, State};
pub use summary::{Interval, Spread, Summary};
pub use words::UnknownWord;

pub(crate) use words::words;
