//! Why a probe fails: a reason code, what to do, and whether to try again.

use std::path::PathBuf;

use super::{
    checkpoint::CheckpointError,
    chips::ChipError,
    device::DeviceError,
    encoder::{EncoderError, MetadataError},
};
use crate::domain::{Digest, Failure, Fault, Reason};

/// Why a probe or an embedding ends without a result.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The checkpoint is refused.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The file of `probe.metadata` cannot be used.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// The data set is refused.
    #[error(transparent)]
    Chips(#[from] ChipError),
    /// The device asked for cannot be had.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The data set, or its split, is another than the one the request was made for.
    #[error("the data set changed: its {what} is {found}, not {expected}")]
    DatasetChanged { what: &'static str, expected: Digest, found: Digest },
    /// What was given does not fit the encoder.
    #[error("{0}")]
    Input(String),
    /// An embedding or a loss is not finite.
    #[error("{0}")]
    NotFinite(String),
    /// A file of ours failed.
    #[error("`{path}`: {source}", path = path.display())]
    Io { path: PathBuf, source: std::io::Error },
    /// A tensor operation failed: memory, or the device.
    #[error("the computation failed: {0}")]
    Tensor(#[from] candle_core::Error),
}

impl ProbeError {
    /// An I/O error with the path it happened at.
    pub fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }

    /// The reason code: of a checkpoint or a data set its own, else of the kind of failure.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Checkpoint(e) => e.reason,
            Self::Metadata(e) => e.reason(),
            Self::Chips(e) => e.reason,
            Self::Device(e) => e.reason(),
            Self::DatasetChanged { .. } => Reason::DatasetChanged,
            Self::Input(_) => Reason::Input,
            Self::NotFinite(_) => Reason::NotFinite,
            Self::Io { .. } => Reason::Io,
            Self::Tensor(e) if out_of_memory(e) => Reason::OutOfMemory,
            Self::Tensor(_) => Reason::Computation,
        }
    }

    /// What to do.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Checkpoint(e) => e.hint.as_deref(),
            Self::Metadata(e) => Some(e.hint()),
            Self::Chips(e) => e.hint.as_deref(),
            Self::Device(e) => e.hint(),
            _ => None,
        }
    }

    /// Whether the same probe may succeed later: memory comes back, and so do disks, devices and data sets; a wrong
    /// checkpoint stays wrong. The data set is the same for every probe: what is wrong with it is no checkpoint's fault.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Checkpoint(e) => e.fault,
            Self::Device(e) => e.fault(),
            Self::Metadata(_) | Self::Chips(_) | Self::DatasetChanged { .. } | Self::Io { .. } => Fault::Surroundings,
            Self::Tensor(_) => Fault::Passing,
            Self::Input(_) | Self::NotFinite(_) => Fault::Final,
        }
    }
}

impl From<ProbeError> for Failure {
    fn from(error: ProbeError) -> Self {
        let (reason, fault) = (error.reason(), error.fault());
        Self { reason, message: error.to_string(), hint: error.hint().map(str::to_owned), fault }
    }
}

fn out_of_memory(error: &candle_core::Error) -> bool {
    let text = error.to_string().to_lowercase();
    text.contains("out of memory") || text.contains("out_of_memory")
}

impl From<EncoderError> for ProbeError {
    fn from(error: EncoderError) -> Self {
        match error {
            EncoderError::Checkpoint(e) => Self::Checkpoint(e),
            EncoderError::Tensor(e) => Self::Tensor(e),
            EncoderError::Input(text) => Self::Input(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_around_a_checkpoint_does_not_fail_it() {
        let gone = ChipError::new(Reason::NoData, "`floods` is not a folder").with_hint("mount it");
        let failure = Failure::from(ProbeError::from(gone));
        assert_eq!((failure.reason, failure.fault), (Reason::NoData, Fault::Surroundings));
        assert_eq!(failure.text(), "`floods` is not a folder; hint: mount it");
        let split = ChipError::new(Reason::Split, "one event");
        assert_eq!(split.fault(), Fault::Final, "of a scan");
        assert_eq!(ProbeError::from(split).fault(), Fault::Surroundings, "of a probe");
        let device = DeviceError::Unavailable { device: "cuda:0".into(), message: "it is lost".into() };
        assert_eq!(ProbeError::from(device).fault(), Fault::Surroundings);
        let memory = ProbeError::from(candle_core::Error::Msg("CUDA_ERROR_OUT_OF_MEMORY".into()));
        assert_eq!((memory.reason(), memory.fault()), (Reason::OutOfMemory, Fault::Passing));
        assert_eq!(ProbeError::NotFinite("a loss".into()).fault(), Fault::Final);
    }
}
