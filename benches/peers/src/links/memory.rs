//! A flag and a payload in memory that two processes share. Layer: peers. The one place of this
//! package with `unsafe`.

#![allow(unsafe_code, reason = "memory that another process writes is out of the compiler's sight")]

use std::fs::OpenOptions;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context;
use memmap2::{MmapOptions, MmapRaw};

use crate::console::Console;
use crate::part::Part;
use crate::polled::{self, Channel, Inlet, Link, Outlet};

/// A flag, on cache lines of its own.
const FLAG_BYTES: usize = 128;
/// Flag and payload of a channel.
const CHANNEL_BYTES: usize = 4096;
const CHANNELS: usize = 2;

/// Plays a part.
pub(super) fn play(part: &Part, console: &Console) -> anyhow::Result<()> {
    polled::play(&Memory::map(part)?, part, console)
}

/// Memory for both channels.
struct Memory {
    map: Arc<MmapRaw>,
    size: usize,
}

/// One end of a channel. The flag says how many messages were written; each is read before the
/// next one is written, because this carries nothing but ping-pongs.
struct End {
    map: Arc<MmapRaw>,
    begin: usize,
    count: u64,
    payload: Vec<u8>,
}

impl Memory {
    fn map(part: &Part) -> anyhow::Result<Self> {
        let path = part.place.directory.join("flags");
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        let bytes = CHANNELS * CHANNEL_BYTES;
        file.set_len(bytes as u64)?;
        let map = MmapOptions::new().len(bytes).map_raw(&file)?;
        let size = part.case.size.min(CHANNEL_BYTES - FLAG_BYTES);
        Ok(Self { map: Arc::new(map), size })
    }

    fn end(&self, channel: Channel) -> End {
        let begin = channel as usize * CHANNEL_BYTES;
        End { map: Arc::clone(&self.map), begin, count: 0, payload: vec![0; self.size] }
    }
}

impl Link for Memory {
    type Outlet = End;
    type Inlet = End;

    fn outlet(&self, channel: Channel) -> anyhow::Result<End> {
        Ok(self.end(channel))
    }

    fn inlet(&self, channel: Channel) -> anyhow::Result<End> {
        Ok(self.end(channel))
    }
}

impl End {
    #[inline]
    fn flag(&self) -> &AtomicU64 {
        // SAFETY: `begin` is a multiple of a page within the map, which this keeps mapped, and
        // every process accesses these eight bytes as an atomic only.
        unsafe { AtomicU64::from_ptr(self.map.as_mut_ptr().add(self.begin).cast()) }
    }

    #[inline]
    fn place(&self) -> *mut u8 {
        // SAFETY: within the map: a channel has room for flag and payload.
        unsafe { self.map.as_mut_ptr().add(self.begin + FLAG_BYTES) }
    }
}

impl Outlet for End {
    #[inline]
    fn send(&mut self, message: &[u8]) -> anyhow::Result<bool> {
        let bytes = message.len().min(self.payload.len());
        // SAFETY: the other side reads only after it has seen the flag, and has read the last
        // message before this side was asked for the next one.
        unsafe { std::ptr::copy_nonoverlapping(message.as_ptr(), self.place(), bytes) };
        self.count += 1;
        // Release: pairs with the Acquire in `poll`.
        self.flag().store(self.count, Ordering::Release);
        Ok(true)
    }
}

impl Inlet for End {
    #[inline]
    fn poll(&mut self, mut on_message: impl FnMut(&[u8])) -> anyhow::Result<usize> {
        // Acquire: pairs with the Release in `send`.
        let count = self.flag().load(Ordering::Acquire);
        if count == self.count {
            return Ok(0);
        }
        self.count = count;
        let (from, bytes) = (self.place(), self.payload.len());
        // SAFETY: the other side has written these bytes before the flag, and writes no more until
        // it is answered.
        unsafe { std::ptr::copy_nonoverlapping(from, self.payload.as_mut_ptr(), bytes) };
        on_message(&self.payload);
        Ok(1)
    }
}
