//! Counts the memory and tables of one instance, in bytes together.

use wasmtime::ResourceLimiter;

use super::engine::{MAX_CORE_INSTANCES, MAX_MEMORIES, MAX_TABLE_ELEMENTS, MAX_TABLES};

/// What an element of a table takes.
const TABLE_ELEMENT_BYTES: usize = size_of::<usize>();

/// The engine's own limits hold for each memory and each table; this one holds for all of an instance.
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

impl Limiter {
    fn take(&mut self, more_bytes: Option<usize>) -> bool {
        let total = more_bytes
            .and_then(|more| self.memory_bytes.checked_add(more))
            .filter(|total| *total <= self.max_memory_bytes);
        match total {
            Some(total) => self.memory_bytes = total,
            None => self.refused = true,
        }
        total.is_some()
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(self.take(desired.checked_sub(current)))
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let more = desired.checked_sub(current);
        let more_bytes = more.and_then(|more| more.checked_mul(TABLE_ELEMENT_BYTES));
        Ok(desired <= MAX_TABLE_ELEMENTS && self.take(more_bytes))
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
    fn tables_count_as_what_they_take() {
        let mut limiter = Limiter::new(100);
        assert!(limiter.table_growing(0, 10, None).unwrap());
        assert!(!limiter.memory_growing(0, 21, None).unwrap());
        assert!(limiter.memory_growing(0, 20, None).unwrap());
        assert!(!limiter.table_growing(10, 11, None).unwrap());
        assert!(limiter.has_refused());
    }

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
