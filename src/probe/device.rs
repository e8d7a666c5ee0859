//! The device to compute on, and why; the threads of a computation.

use candle_core::Device;

use crate::config::Size;

/// A device asked for that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// The word is unknown.
    #[error("`{0}` is not a device; hint: `auto`, `cpu`, `cuda:0` or `metal`")]
    Unknown(String),
    /// This binary was built without it.
    #[error(
        "device `{device}` is not in this build; hint: build with `--features {feature}`, or set `device = \"cpu\"`"
    )]
    NotBuilt { device: String, feature: &'static str },
    /// The driver refuses.
    #[error("device `{device}` cannot be used: {message}")]
    Unavailable { device: String, message: String },
    /// Threads cannot be started.
    #[error("{threads} threads cannot be started: {message}")]
    Threads { threads: usize, message: String },
}

impl DeviceError {
    /// The class-word.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Unknown(_) | Self::NotBuilt { .. } => "device",
            Self::Unavailable { .. } => "device-unavailable",
            Self::Threads { .. } => "threads",
        }
    }
}

/// What a device is chosen by.
#[derive(Clone, Debug)]
pub struct Wish<'a> {
    /// `auto`, `cpu`, `cuda:N`, `metal`.
    pub device: &'a str,
    /// Beside a trainer: `auto` takes a GPU only when no other process computes on it.
    pub serve: bool,
    /// `auto` under `serve` may share a GPU.
    pub share_gpu: bool,
    /// The GPU memory that must be free.
    pub gpu_memory: Size,
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
pub fn choose(wish: &Wish) -> Result<Chosen, DeviceError> {
    let asked = |device, name: &str| Chosen { device, name: name.to_owned(), reason: "asked for".into() };
    match wish.device {
        "cpu" => Ok(Chosen::cpu("asked for")),
        "auto" => Ok(automatic(wish)),
        "metal" => metal().map(|device| asked(device, "metal")),
        name => {
            let number = match name {
                "cuda" => Some(0),
                _ => name.strip_prefix("cuda:").and_then(|n| n.parse().ok()),
            };
            let number = number.ok_or_else(|| DeviceError::Unknown(name.to_owned()))?;
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
    Err(DeviceError::NotBuilt { device: format!("cuda:{number}"), feature: "cuda" })
}

#[cfg(feature = "metal")]
fn metal() -> Result<Device, DeviceError> {
    Device::new_metal(0).map_err(|e| DeviceError::Unavailable { device: "metal".into(), message: e.to_string() })
}

#[cfg(not(feature = "metal"))]
fn metal() -> Result<Device, DeviceError> {
    Err(DeviceError::NotBuilt { device: "metal".into(), feature: "metal" })
}

/// The first GPU that may be taken, else the CPU with the reason.
#[cfg(feature = "cuda")]
fn automatic(wish: &Wish) -> Chosen {
    let why_not = match gpu_that_is_free(wish) {
        Ok(number) => match cuda(number) {
            Ok(device) => {
                let reason = format!("GPU {number} is free").to_owned();
                return Chosen { device, name: format!("cuda:{number}"), reason };
            }
            Err(error) => error.to_string(),
        },
        Err(reason) => reason,
    };
    Chosen::cpu(why_not)
}

#[cfg(not(feature = "cuda"))]
fn automatic(_wish: &Wish) -> Chosen {
    match metal() {
        Ok(device) => Chosen { device, name: "metal".into(), reason: "the only GPU".into() },
        Err(_) => Chosen::cpu("built without CUDA and Metal"),
    }
}

/// Asks NVML: enough free memory, and under `serve` no other process that computes unless it may be shared.
#[cfg(feature = "cuda")]
fn gpu_that_is_free(wish: &Wish) -> Result<usize, String> {
    let nvml = nvml_wrapper::Nvml::init().map_err(|e| format!("NVML cannot be opened: {e}"))?;
    let count = nvml.device_count().map_err(|e| format!("NVML lists no GPU: {e}"))?;
    let mut reasons = Vec::new();
    for number in 0..count {
        let look = || -> Result<Option<String>, nvml_wrapper::error::NvmlError> {
            let gpu = nvml.device_by_index(number)?;
            let own = std::process::id();
            let others = gpu.running_compute_processes()?.iter().filter(|p| p.pid != own).count();
            if wish.serve && !wish.share_gpu && others > 0 {
                return Ok(Some(format!("{others} other processes compute on GPU {number}")));
            }
            let free = gpu.memory_info()?.free;
            Ok((free < wish.gpu_memory.0).then(|| format!("GPU {number} has only {} MB free", free / 1_000_000)))
        };
        match look() {
            Ok(None) => return Ok(number as usize),
            Ok(Some(reason)) => reasons.push(reason),
            Err(error) => reasons.push(format!("GPU {number}: {error}")),
        }
    }
    Err(if reasons.is_empty() { "there is no GPU".into() } else { reasons.join("; ") })
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

    fn wish(device: &str) -> Wish<'_> {
        Wish { device, serve: false, share_gpu: false, gpu_memory: Size(1) }
    }

    #[test]
    fn words() {
        assert_eq!(choose(&wish("cpu")).unwrap().name, "cpu");
        assert!(matches!(choose(&wish("gpu")), Err(DeviceError::Unknown(_))));
        assert!(matches!(choose(&wish("cuda:x")), Err(DeviceError::Unknown(_))));
        assert!(!choose(&wish("auto")).unwrap().reason.is_empty());
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_gpu_that_is_not_built_in_is_refused() {
        let error = choose(&wish("cuda:0")).unwrap_err();
        assert!(error.to_string().contains("--features cuda"), "{error}");
    }

    #[test]
    fn thread_counts() {
        assert_eq!(threads(3, true), 3);
        assert!(threads(0, true) >= 1 && threads(0, true) <= threads(0, false));
        assert_eq!(pool(2).unwrap().current_num_threads(), 2);
    }
}
