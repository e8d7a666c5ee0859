//! Which GPU may be taken: NVML knows who computes on it and how much of it is free, CUDA gives it its number.
//!
//! The two count differently: NVML by PCI bus; CUDA the fastest first unless `CUDA_DEVICE_ORDER=PCI_BUS_ID`, and only
//! what `CUDA_VISIBLE_DEVICES` names (indices or starts of UUIDs, in that order, up to the first invalid one; empty or
//! `-1`: none). So a GPU is matched by its UUID, and the driver itself is asked which ones it shows.

use crate::config::Size;

/// What a device is chosen by.
#[derive(Clone, Debug)]
pub struct DeviceRequest<'a> {
    /// `auto`, `cpu`, `cuda:N` as CUDA counts them, `metal`.
    pub device: &'a str,
    /// Beside a trainer: `auto` takes a GPU only when no other process computes on it.
    pub serve: bool,
    /// `auto` under `serve` may share a GPU.
    pub share_gpu: bool,
    /// A GPU is taken only when this much of its memory is free.
    pub gpu_memory: Size,
}

/// One GPU as NVML shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gpu {
    /// `GPU-8932f937-d72c-4106-c12f-20bd9faed9f6`.
    pub uuid: String,
    pub free_bytes: u64,
    /// Other processes that compute on it: `python (pid 4711)`.
    pub others: Vec<String>,
}

/// The GPUs of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gpus {
    /// UUIDs of the GPUs that CUDA shows to this process; `cuda:N` is the N-th of them.
    pub visible: Vec<String>,
    /// All that NVML shows, in its own order.
    pub table: Vec<Gpu>,
}

impl Gpus {
    /// The CUDA ordinal of the first GPU that `auto` may take and why, else why none.
    ///
    /// Enough of its memory must be free and, under `serve`, nobody else may compute on it unless it may be shared.
    pub fn pick(&self, request: &DeviceRequest) -> Result<(usize, String), String> {
        let alone = request.serve && !request.share_gpu;
        let (mut reasons, mut busy) = (Vec::new(), false);
        for (ordinal, uuid) in self.visible.iter().enumerate() {
            let Some(gpu) = self.gpu(ordinal) else {
                reasons.push(format!("NVML does not know cuda:{ordinal} ({uuid})"));
                continue;
            };
            if alone && !gpu.others.is_empty() {
                reasons.push(format!("cuda:{ordinal} ({uuid}) is in use by {}", listed(&gpu.others)));
                busy = true;
                continue;
            }
            match self.check_room(ordinal, request.gpu_memory) {
                Err(reason) => reasons.push(reason),
                Ok(()) if gpu.others.is_empty() => return Ok((ordinal, format!("{uuid} is free"))),
                Ok(()) => return Ok((ordinal, format!("{uuid} is shared with {}", listed(&gpu.others)))),
            }
        }
        Err(match (reasons.as_slice(), self.table.len()) {
            ([], 0) => "there is no GPU".into(),
            ([], n) => format!("CUDA shows none of the {n} GPUs: see `CUDA_VISIBLE_DEVICES`"),
            (reasons, _) if busy => format!(
                "{}; to use a GPU, reserve one for the probe (`worker.device = \"cuda:N\"`) or let it share one \
                 (`worker.share_gpu = true`)",
                reasons.join("; ")
            ),
            (reasons, _) => reasons.join("; "),
        })
    }

    /// The GPU of a CUDA ordinal, where NVML knows it.
    fn gpu(&self, ordinal: usize) -> Option<&Gpu> {
        let uuid = self.visible.get(ordinal)?;
        self.table.iter().find(|gpu| gpu.uuid == *uuid)
    }

    /// Refuses a GPU that is known to have less than `needed` of its memory free.
    pub fn check_room(&self, ordinal: usize, needed: Size) -> Result<(), String> {
        match self.gpu(ordinal) {
            Some(Gpu { uuid, free_bytes, .. }) if *free_bytes < needed.0 => {
                let [free, needed] = [*free_bytes, needed.0].map(|bytes| bytesize::ByteSize(bytes).display().si());
                Err(format!("cuda:{ordinal} ({uuid}) has {free} free, and `worker.gpu_memory` is {needed}"))
            }
            _ => Ok(()),
        }
    }
}

/// A few of them by name, the rest by number.
fn listed(others: &[String]) -> String {
    const SHOWN: usize = 3;
    let shown = others.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    match others.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// Asks CUDA which GPUs it shows, without using memory on any, and NVML what they do.
#[cfg(feature = "cuda")]
pub fn look() -> Result<Gpus, String> {
    let visible = visible().map_err(|e| format!("CUDA cannot be opened: {e}"))?;
    let nvml = nvml_wrapper::Nvml::init().map_err(|e| format!("NVML cannot be opened: {e}"))?;
    let count = nvml.device_count().map_err(|e| format!("NVML lists no GPU: {e}"))?;
    let own = std::process::id();
    let name = |pid: u32| {
        let path = nvml.sys_process_name(pid, 256).unwrap_or_default();
        let name = path.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or("a process");
        format!("{name} (pid {pid})")
    };
    let gpu = |index| -> Result<Gpu, nvml_wrapper::error::NvmlError> {
        let gpu = nvml.device_by_index(index)?;
        let others = gpu.running_compute_processes()?.into_iter().map(|p| p.pid).filter(|&pid| pid != own);
        Ok(Gpu { uuid: gpu.uuid()?, free_bytes: gpu.memory_info()?.free, others: others.map(name).collect() })
    };
    // One that cannot be read, because it is broken, say, is none that `auto` takes.
    Ok(Gpus { visible, table: (0..count).filter_map(|index| gpu(index).ok()).collect() })
}

#[cfg(not(feature = "cuda"))]
pub fn look() -> Result<Gpus, String> {
    Err("built without CUDA and Metal".into())
}

/// UUIDs by CUDA ordinal, as NVML writes them.
#[cfg(feature = "cuda")]
fn visible() -> Result<Vec<String>, candle_core::cuda::cudarc::driver::DriverError> {
    use candle_core::cuda::cudarc::driver::{result, sys::CUresult};
    match result::init() {
        Err(error) if error.0 == CUresult::CUDA_ERROR_NO_DEVICE => return Ok(Vec::new()),
        other => other?,
    }
    let uuid = |ordinal| {
        let bytes = result::device::get_uuid(result::device::get(ordinal)?)?.bytes;
        let hex: String = bytes.iter().map(|&byte| format!("{:02x}", byte as u8)).collect();
        let (a, b, c, d, e) = (&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]);
        Ok(format!("GPU-{a}-{b}-{c}-{d}-{e}"))
    };
    (0..result::device::get_count()?).map(uuid).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: DeviceRequest = DeviceRequest { device: "auto", serve: true, share_gpu: false, gpu_memory: GB4 };
    const GB4: Size = Size(4_000_000_000);

    fn gpu(uuid: &str, gigabytes: u64, others: &[&str]) -> Gpu {
        let others = others.iter().map(|&other| other.to_owned()).collect();
        Gpu { uuid: uuid.into(), free_bytes: gigabytes * 1_000_000_000, others }
    }

    fn gpus(visible: &[&str], table: &[Gpu]) -> Gpus {
        Gpus { visible: visible.iter().map(|&uuid| uuid.into()).collect(), table: table.to_vec() }
    }

    #[test]
    fn a_gpu_is_matched_by_its_uuid_and_not_by_its_number() {
        // NVML's first is the trainer's; for CUDA it is the second, for the other one is faster.
        let table = [gpu("GPU-a", 40, &["python (pid 7)"]), gpu("GPU-b", 80, &[])];
        assert_eq!(gpus(&["GPU-b", "GPU-a"], &table).pick(&REQUEST), Ok((0, "GPU-b is free".into())));
        assert_eq!(gpus(&["GPU-a", "GPU-b"], &table).pick(&REQUEST), Ok((1, "GPU-b is free".into())));
    }

    #[test]
    fn what_cuda_visible_devices_hides_is_not_taken() {
        let table = [gpu("GPU-a", 80, &[]), gpu("GPU-b", 80, &["python (pid 7)"]), gpu("GPU-c", 80, &[])];
        // `2`, or `GPU-c`: the only one, so the first.
        assert_eq!(gpus(&["GPU-c"], &table).pick(&REQUEST), Ok((0, "GPU-c is free".into())));
        // `1,2`: in the given order.
        assert_eq!(gpus(&["GPU-b", "GPU-c"], &table).pick(&REQUEST), Ok((1, "GPU-c is free".into())));
        let why = |visible: &[&str], table: &[Gpu]| gpus(visible, table).pick(&REQUEST).unwrap_err();
        assert!(why(&["GPU-b"], &table).starts_with("cuda:0 (GPU-b) is in use by python (pid 7)"));
        // Empty, or `-1`.
        assert_eq!(why(&[], &table), "CUDA shows none of the 3 GPUs: see `CUDA_VISIBLE_DEVICES`");
        assert_eq!(why(&[], &[]), "there is no GPU");
        // Part of a GPU (MIG), which NVML lists under another UUID.
        assert_eq!(why(&["GPU-x"], &table), "NVML does not know cuda:0 (GPU-x)");
    }

    #[test]
    fn beside_a_trainer_the_two_ways_out_are_told() {
        let gpus = gpus(&["GPU-a"], &[gpu("GPU-a", 9, &["python (pid 7)", "b (pid 8)", "c (pid 9)", "d (pid 10)"])]);
        let why = gpus.pick(&REQUEST).unwrap_err();
        insta::assert_snapshot!(why, @r#"cuda:0 (GPU-a) is in use by python (pid 7), b (pid 8), c (pid 9) and 1 more; to use a GPU, reserve one for the probe (`worker.device = "cuda:N"`) or let it share one (`worker.share_gpu = true`)"#);
        let shared = Ok((0, "GPU-a is shared with python (pid 7), b (pid 8), c (pid 9) and 1 more".to_owned()));
        assert_eq!(gpus.pick(&DeviceRequest { share_gpu: true, ..REQUEST }), shared);
        assert_eq!(gpus.pick(&DeviceRequest { serve: false, ..REQUEST }), shared, "on the command line");
    }

    #[test]
    fn the_memory_must_be_free() {
        let gpus = gpus(&["GPU-a", "GPU-b"], &[gpu("GPU-a", 3, &[]), gpu("GPU-b", 4, &[])]);
        assert_eq!(gpus.pick(&REQUEST), Ok((1, "GPU-b is free".into())));
        let why = gpus.check_room(0, GB4).unwrap_err();
        assert_eq!(why, "cuda:0 (GPU-a) has 3.0 GB free, and `worker.gpu_memory` is 4.0 GB");
        let more = DeviceRequest { gpu_memory: Size(5_000_000_000), ..REQUEST };
        assert!(gpus.pick(&more).unwrap_err().contains("; cuda:1 (GPU-b) has 4.0 GB free"));
        assert_eq!(gpus.check_room(2, GB4), Ok(()), "CUDA itself says that there is none");
    }
}
