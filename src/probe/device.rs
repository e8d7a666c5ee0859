//! The device to compute on, and why; the threads of a computation.

use candle_core::Device;

use super::gpu;
use crate::domain::{Fault, Reason};

pub use super::gpu::DeviceRequest;

/// A device asked for that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// The word is unknown.
    #[error("`{0}` is not a device")]
    Unknown(String),
    /// This binary was built without it.
    #[error("device `{device}` is not in this build")]
    NotBuilt { device: String },
    /// The driver refuses, or its memory is in use.
    #[error("device `{device}` cannot be used: {message}")]
    Unavailable { device: String, message: String },
    /// Threads cannot be started.
    #[error("{threads} threads cannot be started: {message}")]
    Threads { threads: usize, message: String },
}

impl DeviceError {
    /// The reason code.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Unknown(_) | Self::NotBuilt { .. } => Reason::Device,
            Self::Unavailable { .. } => Reason::DeviceUnavailable,
            Self::Threads { .. } => Reason::Threads,
        }
    }

    /// What to do.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Unknown(_) => Some("`auto`, `cpu`, `cuda:0` or `metal`"),
            Self::NotBuilt { .. } => Some("build with `--features cuda` or `metal`, or set `device = \"cpu\"`"),
            Self::Unavailable { .. } | Self::Threads { .. } => None,
        }
    }

    /// A device is configured for all probes: that it cannot be had is no checkpoint's fault.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Unknown(_) | Self::NotBuilt { .. } | Self::Unavailable { .. } => Fault::Surroundings,
            Self::Threads { .. } => Fault::Passing,
        }
    }
}

/// A device with its name in reports and the reason for it.
#[derive(Clone, Debug)]
pub struct Chosen {
    pub device: Device,
    /// `cpu`, `cuda:0`, `metal`.
    pub name: String,
    pub reason: String,
}

impl Chosen {
    fn cpu(reason: impl Into<String>) -> Self {
        Self { device: Device::Cpu, name: "cpu".into(), reason: reason.into() }
    }
}

/// Chooses a device; anything but `auto` is taken at its word or refused.
pub fn choose(request: &DeviceRequest) -> Result<Chosen, DeviceError> {
    let asked = |device, name: &str| Chosen { device, name: name.to_owned(), reason: "asked for".into() };
    match request.device {
        "cpu" => Ok(Chosen::cpu("asked for")),
        "auto" => Ok(automatic(request)),
        "metal" => metal().map(|device| asked(device, "metal")),
        name => {
            let number = match name {
                "cuda" => Some(0),
                _ => name.strip_prefix("cuda:").and_then(|n| n.parse().ok()),
            };
            let number = number.ok_or_else(|| DeviceError::Unknown(name.to_owned()))?;
            // Where NVML cannot be asked, the driver's word is enough.
            if let Ok(gpus) = gpu::look() {
                let unavailable = |message| DeviceError::Unavailable { device: name.to_owned(), message };
                gpus.check_room(number, request.gpu_memory).map_err(unavailable)?;
            }
            cuda(number).map(|device| asked(device, &format!("cuda:{number}")))
        }
    }
}

#[cfg(feature = "cuda")]
fn cuda(number: usize) -> Result<Device, DeviceError> {
    let device = format!("cuda:{number}");
    Device::new_cuda(number).map_err(|e| DeviceError::Unavailable { device, message: e.to_string() })
}

#[cfg(not(feature = "cuda"))]
fn cuda(number: usize) -> Result<Device, DeviceError> {
    Err(DeviceError::NotBuilt { device: format!("cuda:{number}") })
}

#[cfg(feature = "metal")]
fn metal() -> Result<Device, DeviceError> {
    Device::new_metal(0).map_err(|e| DeviceError::Unavailable { device: "metal".into(), message: e.to_string() })
}

#[cfg(not(feature = "metal"))]
fn metal() -> Result<Device, DeviceError> {
    Err(DeviceError::NotBuilt { device: "metal".into() })
}

/// The first GPU that may be taken, else the CPU with the reason.
fn automatic(request: &DeviceRequest) -> Chosen {
    if let Ok(device) = metal() {
        return Chosen { device, name: "metal".into(), reason: "the only GPU".into() };
    }
    let picked = gpu::look().and_then(|gpus| gpus.pick(request)).and_then(|(number, reason)| {
        let device = cuda(number).map_err(|error| error.to_string())?;
        Ok(Chosen { device, name: format!("cuda:{number}"), reason })
    });
    picked.unwrap_or_else(Chosen::cpu)
}

/// Threads to use: as asked; 0 is all cores, under `serve` a quarter of them, at least one.
pub fn threads(asked: usize, serve: bool) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    match (asked, serve) {
        (0, true) => (cores / 4).max(1),
        (0, false) => cores,
        (n, _) => n,
    }
}

/// A pool in which tensor operations use `threads` threads.
pub fn pool(threads: usize) -> Result<rayon::ThreadPool, DeviceError> {
    let name = |i| format!("tensor-{i}");
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).thread_name(name).build();
    pool.map_err(|e| DeviceError::Threads { threads, message: e.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(device: &str) -> DeviceRequest<'_> {
        DeviceRequest { device, serve: false, share_gpu: false, gpu_memory: crate::config::Size(1) }
    }

    #[test]
    fn words() {
        assert_eq!(choose(&request("cpu")).unwrap().name, "cpu");
        assert!(matches!(choose(&request("gpu")), Err(DeviceError::Unknown(_))));
        assert!(matches!(choose(&request("cuda:x")), Err(DeviceError::Unknown(_))));
        assert!(!choose(&request("auto")).unwrap().reason.is_empty());
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_gpu_that_is_not_built_in_is_refused() {
        let error = choose(&request("cuda:0")).unwrap_err();
        assert!(error.hint().unwrap().contains("--features cuda"), "{error}");
    }

    #[test]
    fn thread_counts() {
        assert_eq!(threads(3, true), 3);
        assert!(threads(0, true) >= 1 && threads(0, true) <= threads(0, false));
        assert_eq!(pool(2).unwrap().current_num_threads(), 2);
    }
}
