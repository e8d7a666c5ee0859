//! The mini trainer: a small masked auto-encoder of Clay v0's shape, trained on flood chips on the CPU.
//!
//! It stands for the trainer of a real model: a process of its own that writes a checkpoint after every epoch and
//! announces it. It is seeded, so that two runs give the same weights.

mod accident;
mod announce;
mod batch;
mod model;
mod parameters;

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use candle_nn::{AdamW, Optimizer, ParamsAdamW};
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

pub use accident::Accident;

use self::{
    announce::{Announcer, Numbers},
    batch::{Batch, CROP, Chip, MASK_RATIO},
    model::{ENCODER, Mae},
    parameters::Parameters,
};
use super::{DemoError, ckpt};
use crate::{
    config::{self, Config},
    domain::ChipRecord,
    probe::{chips::Dataset, encoder::clay_v0},
};

/// Crops per step.
const BATCH: usize = 12;
/// Passes over the crops in an epoch.
const PASSES: u32 = 2;
/// Every so many crops one is in the validation loss, with the same turns and masks in every epoch.
const VALIDATION: usize = 3;

/// What the trainer is told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Folder of chips; rows of its `manifest.csv` marked `test` are never read.
    pub data: PathBuf,
    /// Where checkpoints go.
    pub out: PathBuf,
    /// The daemon to tell, such as `http://127.0.0.1:8080`.
    pub url: Option<String>,
    /// What writes to the daemon must carry.
    pub token: Option<String>,
    pub run: String,
    pub epochs: u32,
    pub learning_rate: f64,
    pub seed: u64,
    /// What goes wrong, and in which epoch.
    pub accident: Option<(Accident, u32)>,
    /// An epoch takes at least this long, so that a person can watch and the machine has room for the probes.
    pub pace: Duration,
}

/// Trains, and after every epoch writes `mae_epoch-{epoch:02}_val-loss-{loss:.2}.ckpt` and announces it.
pub fn run(settings: &Settings) -> Result<(), DemoError> {
    std::fs::create_dir_all(&settings.out).map_err(DemoError::io(&settings.out))?;
    let out = settings.out.canonicalize().map_err(DemoError::io(&settings.out))?;
    let mut crops = crops(&settings.data)?;
    let announcer = settings.url.as_deref().map(|url| Announcer::new(url, settings.token.clone()));

    let mut rng = ChaCha8Rng::seed_from_u64(settings.seed);
    let validation = Batch::draw(crops.iter().step_by(VALIDATION), &mut rng)?;
    let mut trainer = Trainer::new(settings.seed, settings.learning_rate)?;
    for epoch in 0..settings.epochs {
        let started = Instant::now();
        let since = settings.accident.and_then(|(accident, at)| Some((accident, epoch.checked_sub(at)?)));
        if let Some((accident, 0)) = since {
            tracing::warn!(epoch, %accident, "{}", accident.describe());
            accident.strike(&mut crops);
        }
        trainer.adjust(since, settings.learning_rate);
        let mut losses = Vec::new();
        for _ in 0..PASSES {
            let mut order: Vec<usize> = (0..crops.len()).collect();
            order.shuffle(&mut rng);
            for batch in order.chunks(BATCH) {
                losses.push(trainer.step(&Batch::draw(batch.iter().map(|&i| &crops[i]), &mut rng)?)?);
            }
        }
        let numbers = Numbers {
            epoch,
            global_step: trainer.steps,
            train_loss: losses.iter().sum::<f64>() / losses.len() as f64,
            val_loss: f64::from(trainer.mae.loss(&validation)?.to_scalar::<f32>()?),
            learning_rate: trainer.optimiser.learning_rate(),
            samples_seen: u64::from((epoch + 1) * PASSES) * crops.len() as u64,
        };
        let path = trainer.save(&out, &numbers)?;
        tracing::info!(epoch, train_loss = numbers.train_loss, val_loss = numbers.val_loss, "wrote a checkpoint");
        if let Some(announcer) = &announcer {
            announcer.announce(&path, &settings.run, &numbers);
        }
        std::thread::sleep(settings.pace.saturating_sub(started.elapsed()));
    }
    Ok(())
}

/// Clay v0's own: clay-v0.md, section 14.
fn usual(learning_rate: f64) -> ParamsAdamW {
    ParamsAdamW { lr: learning_rate, beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.05 }
}

/// Model and optimiser.
struct Trainer {
    parameters: Parameters,
    mae: Mae,
    optimiser: AdamW,
    steps: u64,
}

impl Trainer {
    fn new(seed: u64, learning_rate: f64) -> Result<Self, DemoError> {
        let mut parameters = Parameters::new(seed);
        let mae = Mae::new(&mut parameters)?;
        let variables = parameters.named().iter().map(|(_, variable)| variable.clone()).collect();
        Ok(Self { parameters, mae, optimiser: AdamW::new(variables, usual(learning_rate))?, steps: 0 })
    }

    /// Sets the optimiser for an epoch, so many epochs after an accident.
    fn adjust(&mut self, since: Option<(Accident, u32)>, learning_rate: f64) {
        let usual = usual(learning_rate);
        self.optimiser.set_params(match since {
            Some((accident, since)) => accident.settings(usual, since),
            None => usual,
        });
    }

    /// One step; returns the loss before it.
    fn step(&mut self, batch: &Batch) -> Result<f64, DemoError> {
        let loss = self.mae.loss(batch)?;
        self.optimiser.backward_step(&loss)?;
        self.steps += 1;
        Ok(loss.to_scalar::<f32>()?.into())
    }

    fn save(&self, out: &Path, numbers: &Numbers) -> Result<PathBuf, DemoError> {
        let path = out.join(format!("mae_epoch-{:02}_val-loss-{:.2}.ckpt", numbers.epoch, numbers.val_loss));
        let tensors = self.parameters.named().iter().map(|(name, variable)| {
            Ok((name.clone(), variable.dims().to_vec(), variable.flatten_all()?.to_vec1::<f32>()?))
        });
        let contents = ckpt::Contents {
            epoch: numbers.epoch,
            global_step: numbers.global_step,
            hyper_parameters: &[
                ("dim", ENCODER.dim as f64),
                ("depth", ENCODER.depth as f64),
                ("heads", ENCODER.heads as f64),
                ("image_size", CROP as f64),
                ("mask_ratio", MASK_RATIO),
                ("lr", numbers.learning_rate),
            ],
            state_dict: &tensors.collect::<Result<Vec<_>, candle_core::Error>>()?,
        };
        ckpt::write(&path, &contents).map_err(DemoError::io(&path))?;
        Ok(path)
    }
}

/// The chips of `data`, cut into crops; those marked `test` in its manifest are left out.
fn crops(data: &Path) -> Result<Vec<Chip>, DemoError> {
    let defaults = Config::load(None, &[])?;
    let settings = config::Probe { data: data.to_owned(), crop: CROP as u32, ..defaults.probe };
    let cache = tempfile::tempdir().map_err(DemoError::io(std::env::temp_dir()))?;
    let dataset = Dataset::open(&settings, cache.path(), &mut |_| {})?;
    let of = |(i, chip): (usize, &ChipRecord)| Chip {
        pixels: clay_v0::pixels(&dataset.raw(i), settings.clouds),
        side: chip.side as usize,
        latlon: chip.latlon,
        time: chip.timestep,
    };
    Ok(dataset.chips().iter().enumerate().map(of).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Crops of smooth waves, which can be learnt.
    fn waves(count: usize) -> Vec<Chip> {
        let pixels =
            (0..13 * CROP * CROP).map(|i| ((i % CROP) as f32 / 9.0 + (i / CROP / CROP) as f32).sin()).collect();
        vec![Chip { pixels, side: CROP, latlon: [0.1, 0.2], time: [0.3, 0.4, 0.5] }; count]
    }

    #[test]
    fn it_learns_and_every_tensor_moves() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut trainer = Trainer::new(0, 1e-3).unwrap();
        let before: Vec<Vec<f32>> =
            trainer.parameters.named().iter().map(|(_, v)| v.flatten_all().unwrap().to_vec1().unwrap()).collect();
        let losses: Vec<f64> =
            (0..30).map(|_| trainer.step(&Batch::draw(&waves(4), &mut rng).unwrap()).unwrap()).collect();
        assert!(losses[29] < 0.8 * losses[0], "{losses:?}");
        for ((name, now), before) in trainer.parameters.named().iter().zip(before) {
            assert_ne!(now.flatten_all().unwrap().to_vec1::<f32>().unwrap(), before, "{name} got no gradient");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_weights() {
        let train = || {
            let mut rng = ChaCha8Rng::seed_from_u64(1);
            let mut trainer = Trainer::new(7, 1e-3).unwrap();
            (0..3).map(|_| trainer.step(&Batch::draw(&waves(2), &mut rng).unwrap()).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(train(), train());
    }

    #[test]
    fn its_encoder_has_the_tensors_of_clay_v0() {
        let trainer = Trainer::new(0, 1e-3).unwrap();
        let names: Vec<&str> = trainer.parameters.named().iter().map(|(name, _)| name.as_str()).collect();
        let encoder = names.iter().filter(|name| name.starts_with("model.encoder.")).count();
        assert_eq!(encoder, 30 + 11 * ENCODER.depth, "clay-v0.md, section 2");
        assert!(names.contains(&"model.encoder.transformer.layers.1.0.to_out.0.weight"));
        assert!(names.contains(&"model.decoder.mask_patch"));
    }
}
