//! The words and numbers of `domain` as columns; `domain` itself names no SQL.

use sqlx::{
    Database, Decode, Encode, Sqlite, Type,
    encode::IsNull,
    error::BoxDynError,
    sqlite::{SqliteTypeInfo, SqliteValueRef},
};

use crate::domain::{
    Change, CheckpointId, ControlName, Digest, DueReason, Epoch, EventId, Format, HeadId, HeadName, Identity, JobId,
    JobKind, Metric, PointId, Reason, ResultId, RunId, RunName, Shown, State, ValueSource, Via,
};

type Arguments = <Sqlite as Database>::ArgumentBuffer;

/// Columns of text that a type's `Display` writes and its `FromStr` reads.
macro_rules! texts {
    ($($name:ty),+ $(,)?) => {$(
        impl Type<Sqlite> for $name {
            fn type_info() -> SqliteTypeInfo {
                <str as Type<Sqlite>>::type_info()
            }
        }

        impl Encode<'_, Sqlite> for $name {
            fn encode_by_ref(&self, arguments: &mut Arguments) -> Result<IsNull, BoxDynError> {
                Encode::<Sqlite>::encode(self.to_string(), arguments)
            }
        }

        impl<'r> Decode<'r, Sqlite> for $name {
            fn decode(value: SqliteValueRef<'r>) -> Result<Self, BoxDynError> {
                Ok(<&str as Decode<'r, Sqlite>>::decode(value)?.parse::<$name>()?)
            }
        }
    )+};
}

/// Columns of integers.
macro_rules! numbers {
    ($($name:ident($inner:ty)),+ $(,)?) => {$(
        impl Type<Sqlite> for $name {
            fn type_info() -> SqliteTypeInfo {
                <$inner as Type<Sqlite>>::type_info()
            }

            fn compatible(info: &SqliteTypeInfo) -> bool {
                <$inner as Type<Sqlite>>::compatible(info)
            }
        }

        impl Encode<'_, Sqlite> for $name {
            fn encode_by_ref(&self, arguments: &mut Arguments) -> Result<IsNull, BoxDynError> {
                Encode::<Sqlite>::encode(self.0, arguments)
            }
        }

        impl<'r> Decode<'r, Sqlite> for $name {
            fn decode(value: SqliteValueRef<'r>) -> Result<Self, BoxDynError> {
                Ok(Self(<$inner as Decode<'r, Sqlite>>::decode(value)?))
            }
        }
    )+};
}

texts!(
    Change,
    ControlName,
    Digest,
    DueReason,
    Format,
    HeadName,
    Identity,
    JobKind,
    Metric,
    Reason,
    RunName,
    Shown,
    State,
    ValueSource,
    Via,
);
numbers!(CheckpointId(i64), Epoch(u32), EventId(i64), HeadId(i64), JobId(i64), PointId(i64), ResultId(i64), RunId(i64));
