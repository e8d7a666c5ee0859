//! The digests of every setting ever shipped: a line must not end because the program changed.

use clay_probe::domain::{HeadSettings, Preparation};

/// Each as it was written, with its digest. Add; never change.
const HEADS: &[(&str, &str)] = &[
    (
        r#"{"revision":1,"head":"conv","seeds":[0,1,2],"fit_steps":600,"batch_size":4,"learning_rate":0.001}"#,
        "83c8bffa243b553ff50e00d07b1a0d1ada6ea3fd218f9ff0f61e4c39bcb91c53",
    ),
    (
        r#"{"revision":1,"head":"linear","seeds":[0,1,2],"fit_steps":600,"batch_size":4,"learning_rate":0.001}"#,
        "02979acd42b4f2400d5fad4873a6d7b81f72b8d57b557471314352a774fb0926",
    ),
    (
        r#"{"revision":1,"head":"segmentor","seeds":[0],"fit_steps":600,"batch_size":4,"learning_rate":0.001}"#,
        "703e31425bb0eb538d53047d4615f11256384848dd0bfd5cdbb12639fe87ba2a",
    ),
    (
        r#"{"revision":1,"head":"conv","seeds":[0],"fit_steps":60,"batch_size":8,"learning_rate":0.01,"threshold":0.4}"#,
        "8e6a74c7ff0b92882adccfc1a2b056844831eed74daefa327904068cbe16612c",
    ),
];

const PREPARATIONS: &[(&str, &str)] = &[
    (
        r#"{"revision":1,"family":"clay-v0","generation":"0","inputs":[],"statistics":"d74981efa70a0c880b8d8c1985d075dbcbf679b99a5f9914e5aaf96b831a9e24","clouds":"ignore","latlon":"wgs84","levels":["L2A"],"filled":[],"precision":"f32"}"#,
        "57716e3d057bc65b0c5496cb969c3b3e399c6ffe218053bf33dfdbf4375b65b9",
    ),
    (
        r#"{"revision":1,"family":"clay-v1","generation":"1.5","inputs":["sentinel-2-l2a","sentinel-1-rtc"],"statistics":"d74981efa70a0c880b8d8c1985d075dbcbf679b99a5f9914e5aaf96b831a9e24","clouds":"ignore","latlon":"none","levels":["L1C"],"filled":["DEM"],"precision":"f32"}"#,
        "2384582359619b2bca3f4e75df9194b722ac79ddac1fda8f16517fec3ebdcde4",
    ),
];

#[test]
fn settings_of_heads_keep_their_digest() {
    let read = |text: &&str| {
        let settings: HeadSettings = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&settings).unwrap(), **text, "what is implied is not written");
        settings.digest().to_string()
    };
    let kept: Vec<_> = HEADS.iter().map(|kept| kept.1).collect();
    assert_eq!(HEADS.iter().map(|(text, _)| read(text)).collect::<Vec<_>>(), kept);
}

#[test]
fn preparations_keep_their_digest() {
    let read = |text: &&str| {
        let preparation: Preparation = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&preparation).unwrap(), **text, "what is implied is not written");
        preparation.digest().to_string()
    };
    let kept: Vec<_> = PREPARATIONS.iter().map(|kept| kept.1).collect();
    assert_eq!(PREPARATIONS.iter().map(|(text, _)| read(text)).collect::<Vec<_>>(), kept);
}
