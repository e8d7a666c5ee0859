//! The restricted unpickler: an opcode machine that builds plain values and tensor views, and runs nothing.
//!
//! Every length is compared with the bytes that remain before anything is set aside for it, marks nest to a bound,
//! and values are counted. A name that is on no list of `globals.rs` refuses the pickle.

use std::collections::HashMap;

use super::{
    calls,
    globals::{self, Global},
    refusal::{Refusal, Result},
    value::{Arena, Id, MAX_VALUES, Value},
};

/// The most marks (open lists, tuples and dictionaries) at one time.
const MAX_MARKS: usize = 1_000;
/// The most unknown names that a message lists.
const MAX_NAMES: usize = 8;

/// Reads a pickle into an arena; the second is the value it stands for.
pub(super) fn read(bytes: &[u8], opaque_globals: &[String]) -> Result<(Arena, Id)> {
    let mut machine = Machine {
        bytes,
        at: 0,
        arena: Arena::default(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
        opaque_globals,
        unknown: Vec::new(),
    };
    let top = machine.run();
    match top {
        _ if !machine.unknown.is_empty() => Err(Refusal::Unsafe(machine.unknown)),
        Ok(top) => Ok((machine.arena, top)),
        Err(Refusal::Bad(what)) => Err(Refusal::Bad(format!("{what} (at byte {})", machine.at))),
        Err(refusal) => Err(refusal),
    }
}

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    arena: Arena,
    stack: Vec<Id>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
    opaque_globals: &'a [String],
    unknown: Vec<String>,
}

impl Machine<'_> {
    fn run(&mut self) -> Result<Id> {
        loop {
            match self.byte()? {
                b'.' => return self.pop(),
                opcode => self.step(opcode)?,
            }
        }
    }

    fn step(&mut self, opcode: u8) -> Result<()> {
        match opcode {
            // Protocol and frames.
            0x80 => match self.byte()? {
                2..=5 => Ok(()),
                other => Err(Refusal::bad(format!("pickle protocol {other}"))),
            },
            0x95 => self.take(8).map(|_| ()),
            // Plain values.
            b'N' => self.push(Value::None),
            0x88 => self.push(Value::Bool(true)),
            0x89 => self.push(Value::Bool(false)),
            b'J' => self.array().map(i32::from_le_bytes).and_then(|n| self.push(Value::Int(n.into()))),
            b'K' => self.array().map(u8::from_le_bytes).and_then(|n| self.push(Value::Int(n.into()))),
            b'M' => self.array().map(u16::from_le_bytes).and_then(|n| self.push(Value::Int(n.into()))),
            b'G' => self.array().map(f64::from_be_bytes).and_then(|x| self.push(Value::Float(x))),
            0x8a => self.length::<1>().and_then(|n| self.long(n)),
            0x8b => self.length::<4>().and_then(|n| self.long(n)),
            b'X' | b'T' => self.length::<4>().and_then(|n| self.text(n)),
            0x8c | b'U' => self.length::<1>().and_then(|n| self.text(n)),
            0x8d => self.length::<8>().and_then(|n| self.text(n)),
            b'B' => self.length::<4>().and_then(|n| self.blob(n)),
            b'C' => self.length::<1>().and_then(|n| self.blob(n)),
            0x8e | 0x96 => self.length::<8>().and_then(|n| self.blob(n)),
            // Containers.
            b'(' if self.marks.len() < MAX_MARKS => {
                self.marks.push(self.stack.len());
                Ok(())
            }
            b'(' => Err(Refusal::bad(format!("nested deeper than {MAX_MARKS}"))),
            b']' | 0x8f => self.push(Value::List(Vec::new())),
            b'}' => self.push(Value::Dict(Vec::new())),
            b')' => self.push(Value::Tuple([].into())),
            0x85 => self.tuple(1),
            0x86 => self.tuple(2),
            0x87 => self.tuple(3),
            b't' | 0x91 => self.since_mark().and_then(|items| self.push(Value::Tuple(items.into()))),
            b'l' => self.since_mark().and_then(|items| self.push(Value::List(items))),
            b'd' => self.since_mark().and_then(|items| {
                let pairs = pairs(&items)?;
                self.push(Value::Dict(pairs))
            }),
            b'a' => self.pop().and_then(|item| self.append(&[item])),
            b'e' | 0x90 => self.since_mark().and_then(|items| self.append(&items)),
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set_items(&[key, value])
            }
            b'u' => self.since_mark().and_then(|items| self.set_items(&items)),
            // Stack and memo.
            b'0' => self.pop().map(|_| ()),
            b'1' => self.since_mark().map(|_| ()),
            b'2' => self.top().and_then(|id| self.push_again(id)),
            b'q' => self.array().and_then(|n| self.remember(u8::from_le_bytes(n).into())),
            b'r' => self.array().and_then(|n| self.remember(u32::from_le_bytes(n))),
            0x94 => self.remember(self.memo.len() as u32),
            b'h' => self.array().and_then(|n| self.recall(u8::from_le_bytes(n).into())),
            b'j' => self.array().and_then(|n| self.recall(u32::from_le_bytes(n))),
            // Names and calls.
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.global(&module, &name)
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let text = |id| self.arena.str(id).map(str::to_owned);
                match (text(module), text(name)) {
                    (Some(module), Some(name)) => self.global(&module, &name),
                    _ => Err(Refusal::bad("the name of a class is not text")),
                }
            }
            b'R' | 0x81 => {
                let (args, callee) = (self.pop()?, self.pop()?);
                self.call(callee, args)
            }
            0x92 => {
                let (_keywords, args, callee) = (self.pop()?, self.pop()?, self.pop()?);
                self.call(callee, args)
            }
            b'i' => {
                let (module, name) = (self.line()?, self.line()?);
                let args = self.since_mark()?;
                self.global(&module, &name)?;
                let callee = self.pop()?;
                let args = self.add(Value::Tuple(args.into()))?;
                self.call(callee, args)
            }
            b'o' => {
                let items = self.since_mark()?;
                let (&callee, args) = items.split_first().ok_or_else(|| Refusal::bad("an object without a class"))?;
                let args = self.add(Value::Tuple(args.into()))?;
                self.call(callee, args)
            }
            b'b' => self.build(),
            b'Q' => {
                let id = self.pop()?;
                let storage = calls::storage(&self.arena, id)?;
                self.push(Value::Storage(storage))
            }
            0x82..=0x84 => {
                self.note_unknown("a class by its number in Python's extension registry".to_owned());
                Err(Refusal::bad("an extension code"))
            }
            other => Err(Refusal::bad(format!("unknown opcode 0x{other:02x}"))),
        }
    }

    // Reading.

    fn take(&mut self, n: usize) -> Result<&[u8]> {
        let end = self.at.checked_add(n).filter(|&end| end <= self.bytes.len());
        let end = end.ok_or_else(|| Refusal::bad("it ends too early"))?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8> {
        self.array().map(|[byte]| byte)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        self.take(N)?.try_into().map_err(|_| Refusal::bad("it ends too early"))
    }

    /// A little-endian length of N bytes, no larger than what remains.
    fn length<const N: usize>(&mut self) -> Result<usize> {
        let bytes = self.array::<N>()?;
        let length = bytes.iter().rev().fold(0u64, |n, &b| (n << 8) | u64::from(b));
        let left = self.bytes.len() - self.at;
        let fits = usize::try_from(length).ok().filter(|&n| n <= left);
        fits.ok_or_else(|| Refusal::bad(format!("a length of {length} where {left} bytes remain")))
    }

    fn line(&mut self) -> Result<String> {
        let rest = &self.bytes[self.at..];
        let end =
            rest.iter().take(1_000).position(|&b| b == b'\n').ok_or_else(|| Refusal::bad("a name without an end"))?;
        let line = String::from_utf8_lossy(&rest[..end]).into_owned();
        self.at += end + 1;
        Ok(line)
    }

    fn text(&mut self, n: usize) -> Result<()> {
        let text = String::from_utf8_lossy(self.take(n)?).into_owned();
        self.push(Value::Str(text.into()))
    }

    fn blob(&mut self, n: usize) -> Result<()> {
        self.take(n)?;
        self.push(Value::Opaque)
    }

    /// A two's complement integer of n bytes; one beyond 64 bits is opaque.
    fn long(&mut self, n: usize) -> Result<()> {
        let bytes = self.take(n)?;
        let fill = if bytes.last().is_some_and(|b| b & 0x80 != 0) { 0xff } else { 0 };
        let mut wide = [fill; 8];
        let value = match wide.get_mut(..n) {
            Some(low) => {
                low.copy_from_slice(bytes);
                Value::Int(i64::from_le_bytes(wide))
            }
            None => Value::Opaque,
        };
        self.push(value)
    }

    // Stack and memo.

    fn add(&mut self, value: Value) -> Result<Id> {
        self.arena.add(value).ok_or_else(|| Refusal::bad(format!("more than {MAX_VALUES} values")))
    }

    fn push(&mut self, value: Value) -> Result<()> {
        let id = self.add(value)?;
        self.stack.push(id);
        Ok(())
    }

    fn push_again(&mut self, id: Id) -> Result<()> {
        self.spend(1)?;
        self.stack.push(id);
        Ok(())
    }

    fn spend(&mut self, n: usize) -> Result<()> {
        self.arena.spend(n).ok_or_else(|| Refusal::bad(format!("more than {MAX_VALUES} values")))
    }

    /// The height below which the open list does not reach.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn top(&self) -> Result<Id> {
        let above = self.stack.get(self.floor()..).unwrap_or_default();
        above.last().copied().ok_or_else(|| Refusal::bad("an empty stack"))
    }

    fn pop(&mut self) -> Result<Id> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn since_mark(&mut self) -> Result<Vec<Id>> {
        let mark = self.marks.pop().ok_or_else(|| Refusal::bad("no mark"))?;
        Ok(self.stack.split_off(mark))
    }

    fn tuple(&mut self, n: usize) -> Result<()> {
        let from = self.stack.len().checked_sub(n).filter(|&from| from >= self.floor());
        let items = self.stack.split_off(from.ok_or_else(|| Refusal::bad("an empty stack"))?);
        self.push(Value::Tuple(items.into()))
    }

    fn remember(&mut self, key: u32) -> Result<()> {
        let top = self.top()?;
        self.spend(1)?;
        self.memo.insert(key, top);
        Ok(())
    }

    fn recall(&mut self, key: u32) -> Result<()> {
        let id = self.memo.get(&key).copied();
        self.push_again(id.ok_or_else(|| Refusal::bad(format!("nothing under memo {key}")))?)
    }

    // Containers.

    fn append(&mut self, items: &[Id]) -> Result<()> {
        let target = self.top()?;
        self.spend(items.len())?;
        match self.arena.get_mut(target) {
            Value::List(list) => list.extend_from_slice(items),
            Value::Opaque => {}
            other => return Err(Refusal::bad(format!("an item is appended to {}", other.kind()))),
        }
        Ok(())
    }

    fn set_items(&mut self, items: &[Id]) -> Result<()> {
        let (target, pairs) = (self.top()?, pairs(items)?);
        self.spend(pairs.len())?;
        match self.arena.get_mut(target) {
            Value::Dict(dict) => dict.extend(pairs),
            Value::Opaque => {}
            other => return Err(Refusal::bad(format!("a key is set in {}", other.kind()))),
        }
        Ok(())
    }

    // Names and calls.

    fn global(&mut self, module: &str, name: &str) -> Result<()> {
        let module = globals::modern(module);
        let global = globals::resolve(module, name, self.opaque_globals).unwrap_or_else(|| {
            self.note_unknown(format!("{module}.{name}").escape_debug().to_string());
            Global::Opaque
        });
        self.push(Value::Global(global))
    }

    fn note_unknown(&mut self, name: String) {
        if self.unknown.len() < MAX_NAMES && !self.unknown.contains(&name) {
            self.unknown.push(name);
        }
    }

    fn call(&mut self, callee: Id, args: Id) -> Result<()> {
        let Value::Global(global) = *self.arena.get(callee) else {
            return Err(Refusal::Unsafe(vec![format!("a call of {}", self.arena.get(callee).kind())]));
        };
        match calls::result(&mut self.arena, global, args)? {
            calls::Made::Is(id) => self.stack.push(id),
            calls::Made::New(value) => self.push(value)?,
        }
        Ok(())
    }

    /// `BUILD` gives an object its attributes (`_metadata` of a state dict, say); none of them is needed.
    fn build(&mut self) -> Result<()> {
        self.pop()?;
        let target = self.top()?;
        match self.arena.get(target) {
            Value::Dict(_) | Value::Tensor(_) | Value::Opaque => Ok(()),
            other => Err(Refusal::bad(format!("attributes are set on {}", other.kind()))),
        }
    }
}

fn pairs(items: &[Id]) -> Result<Vec<(Id, Id)>> {
    match items.as_chunks::<2>() {
        (pairs, []) => Ok(pairs.iter().map(|&[key, value]| (key, value)).collect()),
        _ => Err(Refusal::bad("a key without a value")),
    }
}
