//! Volumes without a guest.

use super::VolumeLimits;

/// Small ones.
pub(super) fn limits() -> VolumeLimits {
    VolumeLimits {
        max_volumes_per_tenant: 2,
        max_volume_bytes: 1000,
        max_volume_bytes_per_tenant: 1500,
        max_files_per_volume: 8,
        max_open_files_per_instance: 3,
        max_open_files_per_tenant: 4,
        max_open_files: 6,
        max_file_operations_per_tenant: 2,
        max_path_bytes: 1024,
        max_path_depth: 16,
    }
}
