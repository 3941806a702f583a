//! The interface `wasi:filesystem/types`: what is open, and what is done with it.

use std::collections::VecDeque;
use std::hash::BuildHasher as _;
use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;
use wasmtime::component::Resource;
use wasmtime_wasi::p2::bindings::clocks::wall_clock::Datetime;
use wasmtime_wasi::p2::bindings::filesystem::preopens;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    Advice, Descriptor, DescriptorFlags, DescriptorStat, DescriptorType, DirectoryEntry,
    DirectoryEntryStream, ErrorCode, Filesize, Host, HostDescriptor, HostDirectoryEntryStream,
    MetadataHashValue, NewTimestamp, OpenFlags, PathFlags,
};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, FsError, FsResult};

use super::Files;
use super::streams::{FileInput, FileOutput, MAX_CHUNK_BYTES};
use crate::volume::{
    At, Entry, File, Instant, Kind, Listing, Mount, NewTime, Opened, Place, Stat, Times,
    VolumeError, Wish,
};

/// What a guest's descriptor stands for.
#[derive(Clone)]
enum Open {
    /// Its place is all that there is of it: nothing is open.
    Directory { mount: Mount, place: Place },
    /// An open file, and where it was found.
    File { mount: Mount, file: Arc<File> },
}

/// A listing under way.
struct Listed {
    mount: Mount,
    /// None while a thread reads on, and for good if that was given up.
    listing: Option<Listing>,
    entries: VecDeque<Entry>,
}

impl Files<'_> {
    fn open(&self, fd: &Resource<Descriptor>) -> FsResult<Open> {
        Ok(self
            .table
            .get(&Resource::<Open>::new_borrow(fd.rep()))?
            .clone())
    }

    fn file(&self, fd: &Resource<Descriptor>) -> FsResult<Arc<File>> {
        match self.open(fd)? {
            Open::File { file, .. } => Ok(file),
            Open::Directory { .. } => Err(ErrorCode::IsDirectory.into()),
        }
    }

    fn directory(&self, fd: &Resource<Descriptor>) -> FsResult<(Mount, Place)> {
        match self.open(fd)? {
            Open::Directory { mount, place } => Ok((mount, place)),
            Open::File { .. } => Err(ErrorCode::NotDirectory.into()),
        }
    }

    fn below(&self, fd: &Resource<Descriptor>, path: &str) -> FsResult<(Mount, Place)> {
        let (mount, place) = self.directory(fd)?;
        let place = mount.place(&place, path).map_err(code)?;
        Ok((mount, place))
    }

    fn push(&mut self, open: Open) -> FsResult<Resource<Descriptor>> {
        let pushed = self.table.push(open)?;
        Ok(Resource::new_own(pushed.rep()))
    }

    /// Room for one more stream.
    fn stream(&self) -> FsResult<OwnedSemaphorePermit> {
        let streams = self.ctx.streams.as_ref().map(Arc::clone);
        let room = streams.and_then(|streams| streams.try_acquire_owned().ok());
        room.ok_or_else(|| ErrorCode::InsufficientMemory.into())
    }

    fn hash(&self, stat: &Stat) -> MetadataHashValue {
        let times = (stat.bytes, stat.modified.seconds, stat.modified.nanoseconds);
        let hash = |part: u8| self.ctx.hashing.hash_one((part, stat.node, times));
        MetadataHashValue {
            lower: hash(0),
            upper: hash(1),
        }
    }
}

async fn stat(open: Open) -> Result<Stat, VolumeError> {
    match open {
        Open::File { file, .. } => file.run(File::stat).await,
        Open::Directory { mount, place } => mount.run(move |tree| tree.stat(&place, true)).await,
    }
}

impl preopens::Host for Files<'_> {
    fn get_directories(&mut self) -> wasmtime::Result<Vec<(Resource<Descriptor>, String)>> {
        let mounts = self.ctx.mounts.clone();
        let preopen = |mount: Mount| {
            let name = format!("/{}", mount.name());
            let place = Place::default();
            let pushed = self.table.push(Open::Directory { mount, place })?;
            Ok((Resource::new_own(pushed.rep()), name))
        };
        mounts.into_iter().map(preopen).collect()
    }
}

impl Host for Files<'_> {
    fn convert_error_code(&mut self, error: FsError) -> wasmtime::Result<ErrorCode> {
        error.downcast()
    }

    fn filesystem_error_code(
        &mut self,
        error: Resource<wasmtime::Error>,
    ) -> wasmtime::Result<Option<ErrorCode>> {
        let error = self.table.get(&error)?;
        Ok(error
            .downcast_ref::<VolumeError>()
            .map(|error| error_code(*error)))
    }
}

impl HostDescriptor for Files<'_> {
    async fn advise(
        &mut self,
        fd: Resource<Descriptor>,
        _offset: Filesize,
        _length: Filesize,
        _advice: Advice,
    ) -> FsResult<()> {
        // Nobody has to follow it.
        self.file(&fd).map(drop)
    }

    async fn sync_data(&mut self, fd: Resource<Descriptor>) -> FsResult<()> {
        self.sync_to_disk(&fd, true).await
    }

    async fn sync(&mut self, fd: Resource<Descriptor>) -> FsResult<()> {
        self.sync_to_disk(&fd, false).await
    }

    async fn get_flags(&mut self, fd: Resource<Descriptor>) -> FsResult<DescriptorFlags> {
        let flag = |flag: DescriptorFlags, is_set: bool| match is_set {
            true => flag,
            false => DescriptorFlags::empty(),
        };
        Ok(match self.open(&fd)? {
            Open::Directory { mount, .. } => {
                let may_write = mount.access().may_write();
                DescriptorFlags::READ | flag(DescriptorFlags::MUTATE_DIRECTORY, may_write)
            }
            Open::File { file, .. } => {
                flag(DescriptorFlags::READ, file.is_readable())
                    | flag(DescriptorFlags::WRITE, file.is_writable())
            }
        })
    }

    async fn get_type(&mut self, fd: Resource<Descriptor>) -> FsResult<DescriptorType> {
        Ok(match self.open(&fd)? {
            Open::Directory { .. } => DescriptorType::Directory,
            Open::File { .. } => DescriptorType::RegularFile,
        })
    }

    async fn set_size(&mut self, fd: Resource<Descriptor>, size: Filesize) -> FsResult<()> {
        let file = self.writable(&fd)?;
        file.run(move |file| file.set_size(size))
            .await
            .map_err(code)
    }

    async fn set_times(
        &mut self,
        fd: Resource<Descriptor>,
        accessed: NewTimestamp,
        modified: NewTimestamp,
    ) -> FsResult<()> {
        let times = times(accessed, modified)?;
        match self.open(&fd)? {
            Open::File { file, .. } => file
                .run(move |file| file.set_times(&times))
                .await
                .map_err(code),
            Open::Directory { mount, place } => {
                let work = mount.run(move |tree| tree.set_times(&place, true, &times));
                work.await.map_err(code)
            }
        }
    }

    async fn read(
        &mut self,
        fd: Resource<Descriptor>,
        length: Filesize,
        offset: Filesize,
    ) -> FsResult<(Vec<u8>, bool)> {
        let file = self.file(&fd)?;
        let most_bytes = usize::try_from(length)
            .unwrap_or(usize::MAX)
            .min(MAX_CHUNK_BYTES);
        let read = file.run(move |file| file.read(offset, most_bytes)).await;
        let bytes = read.map_err(code)?;
        let is_at_end = bytes.is_empty() && length > 0;
        Ok((bytes, is_at_end))
    }

    async fn write(
        &mut self,
        fd: Resource<Descriptor>,
        mut bytes: Vec<u8>,
        offset: Filesize,
    ) -> FsResult<Filesize> {
        let file = self.writable(&fd)?;
        // The guest is told how much was written, and comes again for the rest.
        bytes.truncate(MAX_CHUNK_BYTES);
        let work = file.run(move |file| file.write(At::Offset(offset), &bytes));
        work.await.map_err(code)
    }

    async fn read_directory(
        &mut self,
        fd: Resource<Descriptor>,
    ) -> FsResult<Resource<DirectoryEntryStream>> {
        let (mount, place) = self.directory(&fd)?;
        let listing = mount.run(move |tree| tree.listing(&place)).await;
        let listed = Listed {
            mount,
            listing: Some(listing.map_err(code)?),
            entries: VecDeque::new(),
        };
        let pushed = self.table.push(listed)?;
        Ok(Resource::new_own(pushed.rep()))
    }

    async fn create_directory_at(
        &mut self,
        fd: Resource<Descriptor>,
        path: String,
    ) -> FsResult<()> {
        let (mount, place) = self.below(&fd, &path)?;
        let work = mount.run(move |tree| tree.create_directory(&place));
        work.await.map_err(code)
    }

    async fn stat(&mut self, fd: Resource<Descriptor>) -> FsResult<DescriptorStat> {
        let stat = stat(self.open(&fd)?).await.map_err(code)?;
        Ok(told(&stat))
    }

    async fn stat_at(
        &mut self,
        fd: Resource<Descriptor>,
        flags: PathFlags,
        path: String,
    ) -> FsResult<DescriptorStat> {
        let (mount, place) = self.below(&fd, &path)?;
        let stat = mount.run(move |tree| tree.stat(&place, follows(flags)));
        Ok(told(&stat.await.map_err(code)?))
    }

    async fn set_times_at(
        &mut self,
        fd: Resource<Descriptor>,
        flags: PathFlags,
        path: String,
        accessed: NewTimestamp,
        modified: NewTimestamp,
    ) -> FsResult<()> {
        let times = times(accessed, modified)?;
        let (mount, place) = self.below(&fd, &path)?;
        let work = mount.run(move |tree| tree.set_times(&place, follows(flags), &times));
        work.await.map_err(code)
    }

    async fn link_at(
        &mut self,
        fd: Resource<Descriptor>,
        _flags: PathFlags,
        _old_path: String,
        _new_fd: Resource<Descriptor>,
        _new_path: String,
    ) -> FsResult<()> {
        // A file has one name, so that what is counted under it is counted once.
        Err(self.no_links(&fd)?)
    }

    async fn symlink_at(
        &mut self,
        fd: Resource<Descriptor>,
        _old_path: String,
        _new_path: String,
    ) -> FsResult<()> {
        // Nobody would follow it here, but others may that use the directory.
        Err(self.no_links(&fd)?)
    }

    async fn readlink_at(&mut self, fd: Resource<Descriptor>, _path: String) -> FsResult<String> {
        // It would tell of paths of the machine.
        self.directory(&fd)?;
        Err(ErrorCode::NotPermitted.into())
    }

    async fn open_at(
        &mut self,
        fd: Resource<Descriptor>,
        _path_flags: PathFlags,
        path: String,
        open_flags: OpenFlags,
        flags: DescriptorFlags,
    ) -> FsResult<Resource<Descriptor>> {
        let (mount, place) = self.below(&fd, &path)?;
        let may_write = mount.access().may_write();
        if flags.contains(DescriptorFlags::MUTATE_DIRECTORY) && !may_write {
            return Err(ErrorCode::ReadOnly.into());
        }
        let wish = Wish {
            create: open_flags.contains(OpenFlags::CREATE),
            exclusive: open_flags.contains(OpenFlags::EXCLUSIVE),
            truncate: open_flags.contains(OpenFlags::TRUNCATE),
            directory: open_flags.contains(OpenFlags::DIRECTORY),
            read: flags.contains(DescriptorFlags::READ),
            write: flags.contains(DescriptorFlags::WRITE),
            sync_data: flags.contains(DescriptorFlags::DATA_INTEGRITY_SYNC),
            sync_all: flags.contains(DescriptorFlags::FILE_INTEGRITY_SYNC)
                || flags.contains(DescriptorFlags::REQUESTED_WRITE_SYNC),
        };
        let at = place.clone();
        let opened = mount.run(move |tree| tree.open(&at, wish)).await;
        let open = match opened.map_err(code)? {
            Opened::File(file) => Open::File {
                mount,
                file: Arc::new(file),
            },
            Opened::Directory => Open::Directory { mount, place },
        };
        self.push(open)
    }

    async fn remove_directory_at(
        &mut self,
        fd: Resource<Descriptor>,
        path: String,
    ) -> FsResult<()> {
        let (mount, place) = self.below(&fd, &path)?;
        let work = mount.run(move |tree| tree.remove_directory(&place));
        work.await.map_err(code)
    }

    async fn rename_at(
        &mut self,
        fd: Resource<Descriptor>,
        old_path: String,
        new_fd: Resource<Descriptor>,
        new_path: String,
    ) -> FsResult<()> {
        let (mount, from) = self.below(&fd, &old_path)?;
        let (other, to) = self.below(&new_fd, &new_path)?;
        if !mount.is_same(&other) {
            return Err(ErrorCode::CrossDevice.into());
        }
        let work = mount.run(move |tree| tree.rename(&from, &to));
        work.await.map_err(code)
    }

    async fn unlink_file_at(&mut self, fd: Resource<Descriptor>, path: String) -> FsResult<()> {
        let (mount, place) = self.below(&fd, &path)?;
        let work = mount.run(move |tree| tree.unlink(&place));
        work.await.map_err(code)
    }

    fn read_via_stream(
        &mut self,
        fd: Resource<Descriptor>,
        offset: Filesize,
    ) -> FsResult<Resource<DynInputStream>> {
        let file = self.file(&fd)?;
        if !file.is_readable() {
            return Err(ErrorCode::BadDescriptor.into());
        }
        let stream: DynInputStream = Box::new(FileInput::new(file, offset, self.stream()?));
        Ok(self.table.push(stream)?)
    }

    fn write_via_stream(
        &mut self,
        fd: Resource<Descriptor>,
        offset: Filesize,
    ) -> FsResult<Resource<DynOutputStream>> {
        self.output(&fd, At::Offset(offset))
    }

    fn append_via_stream(
        &mut self,
        fd: Resource<Descriptor>,
    ) -> FsResult<Resource<DynOutputStream>> {
        self.output(&fd, At::End)
    }

    async fn is_same_object(
        &mut self,
        one: Resource<Descriptor>,
        other: Resource<Descriptor>,
    ) -> wasmtime::Result<bool> {
        let one = self
            .table
            .get(&Resource::<Open>::new_borrow(one.rep()))?
            .clone();
        let other = self
            .table
            .get(&Resource::<Open>::new_borrow(other.rep()))?
            .clone();
        let (one, other) = (stat(one).await, stat(other).await);
        Ok(matches!((one, other), (Ok(one), Ok(other)) if one.node == other.node))
    }

    async fn metadata_hash(&mut self, fd: Resource<Descriptor>) -> FsResult<MetadataHashValue> {
        let stat = stat(self.open(&fd)?).await.map_err(code)?;
        Ok(self.hash(&stat))
    }

    async fn metadata_hash_at(
        &mut self,
        fd: Resource<Descriptor>,
        flags: PathFlags,
        path: String,
    ) -> FsResult<MetadataHashValue> {
        let (mount, place) = self.below(&fd, &path)?;
        let stat = mount
            .run(move |tree| tree.stat(&place, follows(flags)))
            .await;
        Ok(self.hash(&stat.map_err(code)?))
    }

    fn drop(&mut self, fd: Resource<Descriptor>) -> wasmtime::Result<()> {
        self.table.delete(Resource::<Open>::new_own(fd.rep()))?;
        Ok(())
    }
}

impl Files<'_> {
    async fn sync_to_disk(&mut self, fd: &Resource<Descriptor>, data_only: bool) -> FsResult<()> {
        match self.open(fd)? {
            Open::File { file, .. } => file.run(move |file| file.sync(data_only)).await,
            Open::Directory { mount, place } => mount.run(move |tree| tree.sync(&place)).await,
        }
        .map_err(code)
    }

    /// A file that is to be changed.
    fn writable(&self, fd: &Resource<Descriptor>) -> FsResult<Arc<File>> {
        match self.open(fd)? {
            Open::Directory { .. } => Err(ErrorCode::IsDirectory.into()),
            Open::File { mount, .. } if !mount.access().may_write() => {
                Err(ErrorCode::ReadOnly.into())
            }
            Open::File { file, .. } if !file.is_writable() => Err(ErrorCode::BadDescriptor.into()),
            Open::File { file, .. } => Ok(file),
        }
    }

    fn output(&mut self, fd: &Resource<Descriptor>, at: At) -> FsResult<Resource<DynOutputStream>> {
        let file = self.writable(fd)?;
        let stream: DynOutputStream = Box::new(FileOutput::new(file, at, self.stream()?));
        Ok(self.table.push(stream)?)
    }

    fn no_links(&self, fd: &Resource<Descriptor>) -> FsResult<FsError> {
        let (mount, _) = self.directory(fd)?;
        Ok(match mount.access().may_write() {
            true => ErrorCode::NotPermitted.into(),
            false => ErrorCode::ReadOnly.into(),
        })
    }
}

impl HostDirectoryEntryStream for Files<'_> {
    async fn read_directory_entry(
        &mut self,
        stream: Resource<DirectoryEntryStream>,
    ) -> FsResult<Option<DirectoryEntry>> {
        let listed = self
            .table
            .get_mut(&Resource::<Listed>::new_borrow(stream.rep()))?;
        if listed.entries.is_empty() {
            let mut listing = listed.listing.take().ok_or(ErrorCode::Io)?;
            let work = listed.mount.run(move |_| {
                let more = listing.more()?;
                Ok((listing, more))
            });
            let (listing, more) = work.await.map_err(code)?;
            listed.listing = Some(listing);
            listed.entries = more.into();
        }
        let entry = listed.entries.pop_front();
        Ok(entry.map(|Entry { name, kind }| DirectoryEntry {
            type_: descriptor_type(kind),
            name,
        }))
    }

    fn drop(&mut self, stream: Resource<DirectoryEntryStream>) -> wasmtime::Result<()> {
        self.table
            .delete(Resource::<Listed>::new_own(stream.rep()))?;
        Ok(())
    }
}

fn follows(flags: PathFlags) -> bool {
    flags.contains(PathFlags::SYMLINK_FOLLOW)
}

fn descriptor_type(kind: Kind) -> DescriptorType {
    match kind {
        Kind::File => DescriptorType::RegularFile,
        Kind::Directory => DescriptorType::Directory,
        Kind::Link => DescriptorType::SymbolicLink,
        Kind::Pipe => DescriptorType::Fifo,
        Kind::Socket => DescriptorType::Socket,
        Kind::BlockDevice => DescriptorType::BlockDevice,
        Kind::CharacterDevice => DescriptorType::CharacterDevice,
        Kind::Unknown => DescriptorType::Unknown,
    }
}

fn told(stat: &Stat) -> DescriptorStat {
    // To the millisecond, like all clocks: whoever writes and looks would have a better one.
    let time = |instant: Instant| {
        let nanoseconds = instant.nanoseconds - instant.nanoseconds % 1_000_000;
        Some(Datetime {
            seconds: instant.seconds,
            nanoseconds,
        })
    };
    DescriptorStat {
        type_: descriptor_type(stat.kind),
        link_count: stat.links,
        size: stat.bytes,
        data_access_timestamp: time(stat.accessed),
        data_modification_timestamp: time(stat.modified),
        status_change_timestamp: time(stat.changed),
    }
}

fn times(accessed: NewTimestamp, modified: NewTimestamp) -> FsResult<Times> {
    let time = |time: NewTimestamp| match time {
        NewTimestamp::NoChange => Ok(None),
        NewTimestamp::Now => Ok(Some(NewTime::Now)),
        NewTimestamp::Timestamp(Datetime {
            seconds,
            nanoseconds,
        }) => {
            if nanoseconds >= 1_000_000_000 || i64::try_from(seconds).is_err() {
                return Err(ErrorCode::Invalid);
            }
            Ok(Some(NewTime::At(Instant {
                seconds,
                nanoseconds,
            })))
        }
    };
    Ok(Times {
        accessed: time(accessed)?,
        modified: time(modified)?,
    })
}

fn code(error: VolumeError) -> FsError {
    error_code(error).into()
}

fn error_code(error: VolumeError) -> ErrorCode {
    match error {
        VolumeError::NoEntry => ErrorCode::NoEntry,
        VolumeError::Exists => ErrorCode::Exist,
        VolumeError::NotDirectory => ErrorCode::NotDirectory,
        VolumeError::IsDirectory => ErrorCode::IsDirectory,
        VolumeError::NotEmpty => ErrorCode::NotEmpty,
        VolumeError::NotPermitted => ErrorCode::NotPermitted,
        VolumeError::ReadOnly => ErrorCode::ReadOnly,
        VolumeError::Link => ErrorCode::Loop,
        VolumeError::NameTooLong => ErrorCode::NameTooLong,
        VolumeError::IllegalName => ErrorCode::IllegalByteSequence,
        VolumeError::Quota => ErrorCode::Quota,
        // It has no code of its own for this.
        VolumeError::TooManyOpen => ErrorCode::InsufficientMemory,
        VolumeError::InsufficientSpace => ErrorCode::InsufficientSpace,
        VolumeError::BadDescriptor => ErrorCode::BadDescriptor,
        VolumeError::FileTooLarge => ErrorCode::FileTooLarge,
        VolumeError::CrossVolume => ErrorCode::CrossDevice,
        VolumeError::Invalid => ErrorCode::Invalid,
        VolumeError::Busy => ErrorCode::Busy,
        VolumeError::Unsupported => ErrorCode::Unsupported,
        VolumeError::Io => ErrorCode::Io,
    }
}
