//! How much of volumes there may be.

/// What volumes are set up with. Each number is enforced in one place.
#[derive(Clone, Debug)]
pub struct VolumeLimits {
    /// Volumes of one tenant's own.
    pub max_volumes_per_tenant: u64,
    /// Bytes of one of them.
    pub max_volume_bytes: u64,
    /// Bytes of all of them, of one tenant.
    pub max_volume_bytes_per_tenant: u64,
    /// Files and directories in one volume.
    pub max_files_per_volume: u64,
    /// Files that one instance has open.
    pub max_open_files_per_instance: usize,
    /// Files that all instances of a tenant have open.
    pub max_open_files_per_tenant: usize,
    /// Files that all instances of the node have open.
    pub max_open_files: usize,
    /// What a tenant has under way at once.
    pub max_file_operations_per_tenant: usize,
    /// Bytes of a path from the root of its volume.
    pub max_path_bytes: usize,
    /// Names in such a path.
    pub max_path_depth: usize,
}
