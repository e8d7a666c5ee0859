//! `inspect DIR`: which layout a folder has, which of its chips would be used, and with `--chips` the values of each.

use std::{collections::BTreeMap, fmt, path::Path};

use serde::Serialize;

use crate::{
    config,
    domain::{Band, Failure, LayoutName, Level, Reason, Refusal},
    probe::chips::{
        ChipError, labels,
        layout::{CUBE, Found, Layout, Look, Wanted, events, layout_of, own_name},
        manifest::{Listed, Manifest},
    },
};

use super::{or_dash, statistics, verdict};

/// `inspect DIR`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DatasetReport {
    /// `dataset`.
    pub kind: &'static str,
    pub path: String,
    pub layout: Option<LayoutName>,
    /// Chips found, also those that are refused or held out.
    pub chips: u64,
    pub usable: u64,
    /// Of the usable chips, sorted.
    pub events: Vec<EventChips>,
    pub refused: Vec<Refusal>,
    /// What is odd and refuses a chip only under `probe.strict`, if at all.
    pub warnings: Vec<Refusal>,
    /// What the layout tells of the folder.
    pub notes: Vec<String>,
    /// Chips that are never opened: marked `test` in `manifest.csv`, or held out by the layout.
    pub held_out: u64,
    /// With `--chips`: every chip whose pixels decode, sorted by path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub items: Option<Vec<ChipItem>>,
    /// Why the folder as a whole cannot be used.
    pub reason: Option<Reason>,
    pub message: Option<String>,
}

/// An event and its usable chips.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EventChips {
    pub event: String,
    pub chips: u64,
}

/// One chip in the one unit: optical reflectance x 10000, radar linear power, metres.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChipItem {
    pub id: String,
    pub path: String,
    pub layout: LayoutName,
    pub event: String,
    /// YYYY-MM-DD.
    pub date: Option<String>,
    /// Degrees, WGS84, of the centre.
    pub lat: Option<f64>,
    pub lon: Option<f64>,
    pub epsg: Option<u16>,
    /// Metres, as declared.
    pub gsd: f64,
    pub level: Option<Level>,
    /// Rows, columns.
    pub shape: [u32; 2],
    pub bands: BTreeMap<Band, BandItem>,
    /// Of the 13 of a cube, in its order.
    pub bands_missing: Vec<Band>,
    pub label: Option<LabelItem>,
    pub usable: bool,
}

/// One band over its pixels that are not missing.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BandItem {
    pub mean: Option<f64>,
    /// Population standard deviation.
    pub std: Option<f64>,
    /// Pixels.
    pub missing: u64,
}

/// Pixels of the water label before the cloud rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LabelItem {
    pub water: u64,
    pub land: u64,
    pub ignored: u64,
}

/// Reads every chip below a folder, one after the other, and says which would be used; with `chips`, the values of each.
/// Writes nothing.
pub fn inspect_dir(path: &Path, settings: &config::Probe, chips: bool) -> DatasetReport {
    let mut report = DatasetReport {
        kind: "dataset",
        path: path.display().to_string(),
        layout: None,
        chips: 0,
        usable: 0,
        events: Vec::new(),
        refused: Vec::new(),
        warnings: Vec::new(),
        notes: Vec::new(),
        held_out: 0,
        items: chips.then(Vec::new),
        reason: None,
        message: None,
    };
    if let Err(problem) = look_through(path, settings, &mut report).map_err(Failure::from) {
        (report.reason, report.message) = (Some(problem.reason), Some(problem.text()));
    }
    report
}

fn look_through(root: &Path, settings: &config::Probe, report: &mut DatasetReport) -> Result<(), ChipError> {
    let layout = layout_of(root, settings.layout)?;
    report.layout = Some(layout.name());
    let listing = layout.list(root)?;
    let manifest = Manifest::read(root)?;
    report.chips = listing.chips.len() as u64;
    (report.refused, report.warnings, report.notes) = (listing.refused, listing.warnings, listing.notes);
    report.refused.extend(manifest.missing(&listing.chips)?);
    report.refused.extend(manifest.unknown(&listing.chips));
    let paths: Vec<&str> = listing.chips.iter().map(|chip| chip.path.as_str()).collect();
    let mut by_event: BTreeMap<String, u64> = BTreeMap::new();
    for (chip, event) in listing.chips.iter().zip(events(&paths, &own_name(root))) {
        let row = manifest.row(chip);
        if chip.held_out || manifest.holds_out(chip) {
            report.held_out += 1;
            continue;
        }
        if row.is_some_and(|row| matches!(row.listed, Some(Listed::Unknown(_)))) {
            continue; // it is among the refused
        }
        let event = row.and_then(|row| row.event.clone()).or_else(|| chip.event.clone()).unwrap_or(event);
        let look = look_at(layout, chip);
        report.warnings.extend(look.warnings.iter().map(|w| w.clone().refusal(&chip.path)));
        match look.problems.first() {
            Some(problem) => report.refused.push(problem.clone().refusal(&chip.path)),
            None => *by_event.entry(event.clone()).or_default() += 1,
        }
        if let Some(items) = report.items.as_mut().filter(|_| !look.planes.is_empty()) {
            items.push(item(chip, event, layout.name(), &look));
        }
    }
    report.usable = by_event.values().sum();
    report.events = by_event.into_iter().map(|(event, chips)| EventChips { event, chips }).collect();
    if report.usable == 0 {
        return Err(ChipError::new(Reason::NoChips, format!("no usable chips found in `{}`", root.display())));
    }
    let units = report.warnings.iter().filter(|w| w.reason == Reason::Unit).count();
    let refused = report.refused.len() + units;
    if settings.strict && refused > 0 {
        let message = format!("{refused} chips cannot be used and `probe.strict` is set");
        return Err(ChipError::new(Reason::Refused, message));
    }
    Ok(())
}

fn look_at(layout: &dyn Layout, chip: &Found) -> Look {
    let wanted = Wanted { water: true, clouds: true };
    match chip.contents(wanted) {
        Ok(contents) => layout.look(chip, contents, wanted),
        Err(problem) => Look { problems: vec![problem], ..Look::default() },
    }
}

fn item(chip: &Found, event: String, layout: LayoutName, look: &Look) -> ChipItem {
    let band = |band: &Band| {
        let of = statistics(look.plane(*band).unwrap_or_default());
        (*band, BandItem { mean: of.mean, std: of.std, missing: of.missing })
    };
    let label = look.water.as_deref().map(labels::count);
    ChipItem {
        id: chip.id.clone(),
        path: chip.path.clone(),
        layout,
        event,
        date: look.date.map(|d| d.to_string()),
        lat: look.place.map(|p| p.lat),
        lon: look.place.map(|p| p.lon),
        epsg: look.place.map(|p| p.epsg),
        gsd: look.gsd,
        level: look.level,
        shape: [look.height, look.width],
        bands: look.bands.iter().map(band).collect(),
        bands_missing: CUBE.into_iter().filter(|band| !look.bands.contains(band)).collect(),
        label: label.map(|[water, land, ignored]| LabelItem { water, land, ignored }),
        usable: look.problems.is_empty(),
    }
}

impl fmt::Display for DatasetReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "data set   {}", self.path)?;
        writeln!(f, "layout     {}", or_dash(self.layout))?;
        let (refused, held_out) = (self.refused.len(), self.held_out);
        writeln!(f, "chips      {}: {} usable, {refused} refused, {held_out} held out", self.chips, self.usable)?;
        let events: Vec<String> = self.events.iter().map(|e| format!("{} ({})", e.event, e.chips)).collect();
        writeln!(f, "events     {}", events.join(", "))?;
        for note in &self.notes {
            writeln!(f, "note       {note}")?;
        }
        for refusal in &self.refused {
            writeln!(f, "  {}: {}", refusal.reason, refusal.message)?;
        }
        for warning in &self.warnings {
            writeln!(f, "warning    {}: {}", warning.reason, warning.message)?;
        }
        for item in self.items.iter().flatten() {
            write!(f, "{item}")?;
        }
        verdict(f, self.reason, self.message.as_deref())
    }
}

impl fmt::Display for ChipItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [rows, columns] = self.shape;
        let (date, level) = (or_dash(self.date.as_ref()), or_dash(self.level));
        writeln!(
            f,
            "chip       {}: {rows} x {columns} pixels of {} m, {}, {date}, {level}",
            self.id, self.gsd, self.event
        )?;
        if let (Some(lat), Some(lon), Some(epsg)) = (self.lat, self.lon, self.epsg) {
            writeln!(f, "  centre   {lat:.6}, {lon:.6} (latitude, longitude), EPSG:{epsg}")?;
        }
        for (name, BandItem { mean, std, missing }) in &self.bands {
            let (mean, std) = (mean.map(|v| format!("{v:.4}")), std.map(|v| format!("{v:.4}")));
            writeln!(f, "  {name:<8} mean {:>12}  std {:>12}  missing {missing}", or_dash(mean), or_dash(std))?;
        }
        if !self.bands_missing.is_empty() {
            let names: Vec<&str> = self.bands_missing.iter().map(|b| b.as_str()).collect();
            writeln!(f, "  missing  {}", names.join(", "))?;
        }
        match &self.label {
            Some(LabelItem { water, land, ignored }) => {
                writeln!(f, "  label    {water} water, {land} land, {ignored} ignored")
            }
            None => writeln!(f, "  label    -"),
        }
    }
}
