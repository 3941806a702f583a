//! Counts the memory and tables of one instance.

use wasmtime::ResourceLimiter;

use super::engine::{MAX_CORE_INSTANCES, MAX_MEMORIES, MAX_TABLE_ELEMENTS, MAX_TABLES};

/// The engine's own limits hold for each memory; this one holds for all memories of an instance.
pub(super) struct Limiter {
    max_memory_bytes: usize,
    memory_bytes: usize,
    /// Whether growth was refused: a guest that then traps most likely does so for want of memory.
    refused: bool,
}

impl Limiter {
    pub(super) fn new(max_memory_bytes: u64) -> Self {
        Limiter {
            max_memory_bytes: usize::try_from(max_memory_bytes).unwrap_or(usize::MAX),
            memory_bytes: 0,
            refused: false,
        }
    }

    pub(super) fn has_refused(&self) -> bool {
        self.refused
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let total = desired
            .checked_sub(current)
            .and_then(|more| self.memory_bytes.checked_add(more))
            .filter(|total| *total <= self.max_memory_bytes);
        match total {
            Some(total) => self.memory_bytes = total,
            None => self.refused = true,
        }
        Ok(total.is_some())
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(desired <= MAX_TABLE_ELEMENTS)
    }

    fn instances(&self) -> usize {
        MAX_CORE_INSTANCES as usize
    }

    fn tables(&self) -> usize {
        MAX_TABLES as usize
    }

    fn memories(&self) -> usize {
        MAX_MEMORIES as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memories_are_counted_together() {
        let mut limiter = Limiter::new(100);
        assert!(limiter.memory_growing(0, 60, None).unwrap());
        assert!(limiter.memory_growing(0, 40, None).unwrap());
        assert!(!limiter.has_refused());
        assert!(!limiter.memory_growing(40, 41, None).unwrap());
        assert!(limiter.has_refused());
        assert!(
            !limiter
                .table_growing(0, MAX_TABLE_ELEMENTS + 1, None)
                .unwrap()
        );
    }
}
