//! Reason codes: why something was refused, waits or ended, in one word for programs.

use super::words;

words! {
    /// Why a checkpoint, a chip, a job or a point is as it is. Words are only ever added.
    pub enum Reason {
        // a checkpoint's file
        /// Empty, or neither a ZIP archive nor safetensors.
        NotACheckpoint = "not-a-checkpoint",
        /// It ends before its content does.
        Truncated = "truncated",
        /// A CRC does not hold.
        Checksum = "checksum",
        /// Written by a PyTorch before 1.6.
        LegacyFormat = "legacy-format",
        /// Its pickle does not parse.
        BadPickle = "bad-pickle",
        /// Its pickle names something that is not on the short list.
        UnsafePickle = "unsafe-pickle",
        /// It holds no state dict.
        NoStateDict = "no-state-dict",
        /// It holds no Clay encoder.
        NoEncoder = "no-encoder",
        /// It holds several encoders, and `probe.prefix` chooses none.
        SeveralEncoders = "several-encoders",
        /// What describes it cannot be read: the statistics of its inputs, the metadata of a data set.
        Metadata = "metadata",
        DuplicateTensor = "duplicate-tensor",
        MissingTensor = "missing-tensor",
        UnexpectedTensor = "unexpected-tensor",
        WrongShape = "wrong-shape",
        WrongDtype = "wrong-dtype",
        /// A weight is NaN or infinite.
        NonFinite = "non-finite",
        /// The file is not there.
        Missing = "missing",
        /// The file may not be read, or reading failed.
        Unreadable = "unreadable",
        /// The file changed while it was read.
        Changed = "changed",
        // a checkpoint's place
        /// It tells no epoch, neither inside nor in its name, and none was posted.
        NoEpoch = "no-epoch",
        /// What was posted is not what the file says, or its attempt holds other weights at that step.
        ContradictsPost = "contradicts-post",
        /// Other content took its path before it was read.
        Overwritten = "overwritten",
        /// Its name is not UTF-8.
        NameNotUtf8 = "name-not-utf8",
        // a chip or a data set
        NoData = "no-data",
        NoChips = "no-chips",
        NoSplit = "no-split",
        Manifest = "manifest",
        Split = "split",
        /// A chip cannot be used, and `probe.strict` is set.
        Refused = "refused",
        Empty = "empty",
        NotATiff = "not-a-tiff",
        Unsupported = "unsupported",
        /// A TIFF compressed in a way that is not read.
        Compression = "compression",
        TooLarge = "too-large",
        Size = "size",
        Bands = "bands",
        Sparse = "sparse",
        NoCrs = "no-crs",
        Crs = "crs",
        NoTransform = "no-transform",
        Date = "date",
        Name = "name",
        LabelMissing = "label-missing",
        LabelSize = "label-size",
        LabelBands = "label-bands",
        LabelExtent = "label-extent",
        LabelValue = "label-value",
        /// A file of the chip is not there.
        BandMissing = "band-missing",
        /// Two files of the chip are of different sizes.
        SizeMismatch = "size-mismatch",
        /// Two files of the chip lie at different places.
        Georef = "georef-mismatch",
        /// Two files claim to be the same.
        Ambiguous = "ambiguous",
        /// Sentinel-1 and Sentinel-2 do not belong together.
        Unpaired = "unpaired",
        /// It is in the list of a split and not on disk.
        ChipMissing = "chip-missing",
        /// Two chips of different folds are the same, or overlap.
        SplitLeak = "split-leak",
        /// Values look like another unit than the layout's.
        Unit = "unit",
        /// Its row in `manifest.csv` has a split that is none of train, val and test.
        UnknownSplit = "unknown-split",
        /// The chips lack what the encoder takes.
        Inputs = "inputs",
        /// The training side of a fold has no pixel of one class.
        OneClassTraining = "one-class-training",
        Cache = "cache",
        Picture = "picture",
        // a job
        /// The worker program cannot be started.
        WorkerStart = "worker-start",
        /// The worker ended before it finished.
        WorkerDied = "worker-died",
        /// Worker and daemon are of different versions.
        Protocol = "protocol",
        /// The worker said nothing for `worker.lease`.
        Lease = "lease",
        /// It took longer than it may.
        Timeout = "timeout",
        /// The worker panicked.
        Panic = "panic",
        OutOfMemory = "out-of-memory",
        /// The device asked for is unknown or not built in.
        Device = "device",
        /// The device asked for cannot be had now.
        DeviceUnavailable = "device-unavailable",
        Threads = "threads",
        /// What was given does not fit the encoder.
        Input = "input",
        /// An embedding or a loss is not finite.
        NotFinite = "not-finite",
        /// A file of ours could not be read or written.
        Io = "io",
        /// A tensor operation failed.
        Computation = "computation",
        /// The data set is another than the one that was scanned.
        DatasetChanged = "dataset-changed",
        /// The pin was given up for space, and cannot be made anew.
        PinMissing = "pin-missing",
        /// The report holds something else than what was asked for.
        WrongReport = "wrong-report",
        /// The daemon went down five times in a row while it ran.
        Restarts = "restarts",
        /// `store.max_bytes` is reached; it waits.
        NoSpace = "no-space",
        /// The database cannot be written.
        CannotWrite = "cannot-write",
        /// The daemon stopped the job.
        Stopped = "stopped",
        /// Taken back by a person.
        Cancelled = "cancelled",
        /// A fault of this program.
        Internal = "internal",
        // a point without a score
        /// Not due by the rule.
        NotDue = "not-due",
        /// Not due yet: the newest of its run, which the end of the run makes due.
        NotDueYet = "not-due-yet",
        /// Scored under other settings or other data than the line that is shown.
        OtherLine = "other-line",
    }
}

words! {
    /// Why a point is probed.
    pub enum DueReason {
        /// The first of its attempt.
        First = "first",
        /// Far enough from every other probe of its attempt.
        EveryN = "every_n",
        /// `(epoch + 1) % n == 0`.
        Modulo = "modulo",
        /// The last of its run.
        Last = "last",
        /// Somebody asked.
        Forced = "forced",
    }
}
