//! How much of volumes there may be.

/// What volumes are set up with. Each number is enforced in one place.
#[derive(Clone, Debug)]
pub struct VolumeLimits {
    /// What each tenant has of its own.
    pub of_tenant: TenantLimits,
    /// Bytes of one volume of a tenant's own.
    pub max_volume_bytes: u64,
    /// Files and directories in one volume.
    pub max_files_per_volume: u64,
    /// Files that one instance has open.
    pub max_open_files_per_instance: usize,
    /// Files that all instances of the node have open.
    pub max_open_files: usize,
    /// Bytes of a path from the root of its volume.
    pub max_path_bytes: usize,
    /// Names in such a path.
    pub max_path_depth: usize,
}

/// How much one tenant may have, which may be less than others have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TenantLimits {
    /// Volumes of its own.
    pub max_volumes: u64,
    /// Bytes of all of them.
    pub max_volume_bytes: u64,
    /// Files that all of its instances have open.
    pub max_open_files: usize,
    /// What it has under way at once.
    pub max_file_operations: usize,
}
