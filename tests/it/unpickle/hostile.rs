//! Pickles that want to run something, eat memory or confuse the reader.

use clay_probe::{
    domain::Reason,
    probe::weights::{Options, inspect},
};
use proptest::prelude::*;

use super::{
    baseline, refusal,
    torch_save::{Save, call, global, int, text, tuple},
    written,
};

/// A sound file with one more pickled entry at the top.
fn with(extra: &[u8]) -> Vec<u8> {
    let mut save = Save::like(&baseline());
    save.extra.extend([&text("callbacks"), extra].concat());
    save.bytes()
}

fn usable(bytes: &[u8], options: &Options) -> bool {
    let (path, _folder) = written(bytes);
    inspect(&path, options).usable
}

#[test]
fn harmless_names_are_data() {
    for extra in [
        call("pathlib", "PosixPath", &[text("/runs"), text("a")]),
        call("_codecs", "encode", &[text("bytes"), text("latin1")]),
        [global("argparse", "Namespace"), b")\x81}".to_vec(), text("lr"), int(1), b"sb".to_vec()].concat(),
        [call("collections", "defaultdict", &[global("__builtin__", "list")]), text("a"), b"]s".to_vec()].concat(),
        [global("omegaconf.dictconfig", "DictConfig"), b")\x81}".to_vec(), text("x"), b"}sb".to_vec()].concat(),
        call("torch", "Size", &[tuple(&[int(1), int(2)])]),
        call("numpy.core.multiarray", "scalar", &[global("numpy", "dtype"), text("x")]),
        b"\x8a\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x7f".to_vec(),
    ] {
        assert!(usable(&with(&extra), &Options::default()), "{:?}", String::from_utf8_lossy(&extra));
    }
}

#[test]
fn unknown_names_refuse_the_file_even_if_never_called() {
    let (reason, message) = refusal(&with(&global("shutil", "rmtree")));
    assert_eq!(reason, Reason::UnsafePickle);
    assert!(message.contains("shutil.rmtree") && message.contains("probe.opaque_globals"), "{message}");
    // All of them are named at once, in each way a pickle can name them.
    let stack_global = [text("os"), text("popen"), vec![0x93]].concat();
    let inst = b"(iposix\nsystem\n".to_vec();
    let (_, message) = refusal(&with(&tuple(&[stack_global, inst, call("builtins", "exec", &[])])));
    for name in ["os.popen", "posix.system", "builtins.exec"] {
        assert!(message.contains(name), "{message}");
    }
}

#[test]
fn the_configuration_may_add_a_name() {
    let bytes = with(&call("my.package", "Mode", &[int(1)]));
    assert!(!usable(&bytes, &Options::default()));
    assert!(usable(&bytes, &Options { opaque_globals: vec!["my.package.Mode".into()], ..Options::default() }));
}

#[test]
fn a_dictionary_that_is_filled_after_it_was_shared_is_one_dictionary() {
    // state_dict is put in the memo empty, filled through the memo, then set under its key.
    let mut save = Save::like(&baseline());
    let own = save.pickle();
    let filled = save.clone();
    save.extra.extend([text("first"), b"}q\x07".to_vec()].concat());
    let items = {
        // What follows `}(`-less: the items of the pickled ordered dictionary.
        let start = call("collections", "OrderedDict", &[]);
        let at = own.windows(start.len()).position(|w| w == start).unwrap() + start.len();
        own[at..own.len() - 2].to_vec()
    };
    save.extra.extend([text("second"), b"h\x07".to_vec(), items].concat());
    save.state_dict = Some(b"h\x07".to_vec());
    assert_eq!(super::digest_of(&save.bytes()), super::digest_of(&filled.bytes()));
}

#[test]
fn made_up_lengths_ask_for_no_memory() {
    for extra in [
        b"X\xff\xff\xff\xff".to_vec(),                    // a string of 4 GiB
        b"\x8d\xff\xff\xff\xff\xff\xff\xff\x7f".to_vec(), // one of 8 EiB
        b"\x8b\xff\xff\xff\x7f".to_vec(),                 // an integer of 2 GiB
        vec![b'('; 5_000],                                // marks
        b"j\xff\xff\xff\xff".to_vec(),                    // a memo that is not there
        b"t".repeat(3),
        b"0000".to_vec(),
    ] {
        assert_eq!(refusal(&with(&extra)).0, Reason::BadPickle, "{extra:?}");
    }
    // Deep nests and cycles are only data.
    assert!(usable(&with(&[b")".to_vec(), vec![0x85; 500_000]].concat()), &Options::default()));
    assert!(usable(&with(b"]q\x05h\x05a"), &Options::default()), "a list that holds itself");
    // More values than any checkpoint has.
    assert_eq!(refusal(&with(&vec![b'N'; 4_100_000])).0, Reason::BadPickle);
    assert_eq!(refusal(&with(&[b"N".to_vec(), vec![0x94; 4_100_000]].concat())).0, Reason::BadPickle, "the memo");
}

#[test]
fn made_up_numbers_are_refused_within_little_memory() {
    // Two tests again, in a process of their own that may take 400 MB more than it has: where as much were
    // set aside as is declared (4 GiB, 2^40 ZIP entries), that process would abort.
    const LIMITED: &str = "CLAY_PROBE_TEST_MEMORY_LIMITED";
    let tests = [made_up_lengths_ask_for_no_memory as fn(), a_made_up_number_of_zip_entries_is_refused];
    if std::env::var_os(LIMITED).is_some() {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let size = status.lines().find_map(|l| l.strip_prefix("VmSize:")).unwrap();
        let size = size.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1024;
        let limit = rustix::process::Rlimit { current: Some(size + (400 << 20)), maximum: Some(size + (400 << 20)) };
        rustix::process::setrlimit(rustix::process::Resource::As, limit).unwrap();
        return tests.iter().for_each(|test| test());
    }
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "unpickle::hostile::made_up_numbers_are_refused_within_little_memory", "--test-threads=1"])
        .env(LIMITED, "1")
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && told.contains("1 passed"), "{told}{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_made_up_number_of_zip_entries_is_refused() {
    let mut bytes = Save::like(&baseline()).bytes();
    let end = bytes.len() - 22;
    // A ZIP64 end record that declares 2^40 entries, and its locator, before the end record.
    let mut record = [b"PK\x06\x06".to_vec(), 44u64.to_le_bytes().to_vec(), vec![45, 0, 45, 0], vec![0; 8]].concat();
    for number in [1u64 << 40, 1 << 40, 100, 0] {
        record.extend(number.to_le_bytes());
    }
    let locator =
        [b"PK\x06\x07".to_vec(), vec![0; 4], (end as u64).to_le_bytes().to_vec(), 1u32.to_le_bytes().to_vec()];
    let mut tail = bytes.split_off(end);
    tail[8..20].fill(0xff);
    bytes.extend([record, locator.concat(), tail].concat());
    let (reason, message) = refusal(&bytes);
    assert_eq!(reason, Reason::NotACheckpoint, "{message}");
    assert!(message.contains("1099511627776"), "{message}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), start in 0..4usize) {
        let start: &[u8] = [&b""[..], b"PK\x03\x04", b"\x80\x02", b"\x40\0\0\0\0\0\0\0{\"a\":"][start];
        let (path, _folder) = written(&[start, &bytes].concat());
        prop_assert!(!inspect(&path, &Options::default()).usable);
    }

    #[test]
    fn arbitrary_pickles_never_panic(pickle in prop::collection::vec(any::<u8>(), 0..300)) {
        let save = Save { top: "archive", ..Save::default() };
        let (path, _folder) = written(&save.with_pickle(&pickle));
        prop_assert!(!inspect(&path, &Options::default()).usable);
    }

    #[test]
    fn mutated_pickles_never_panic(edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        static SOUND: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
        let mut pickle = SOUND.get_or_init(|| Save::like(&baseline()).pickle()).clone();
        for (at, byte) in edits {
            let at = at.index(pickle.len());
            pickle[at] = byte;
        }
        let save = Save { top: "archive", ..Save::default() };
        let (path, _folder) = written(&save.with_pickle(&pickle));
        prop_assert!(!inspect(&path, &Options::default()).usable, "its storages are not there");
    }
}
