//! The folder: the one that the host preopens, and a folder of the machine in tests.

/// A file or a folder in a folder.
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// The size of a file.
    pub(crate) bytes: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Folder,
}

#[cfg(not(target_arch = "wasm32"))]
pub(crate) use in_tests::Folder;
#[cfg(target_arch = "wasm32")]
pub(crate) use of_host::Folder;

#[cfg(target_arch = "wasm32")]
mod of_host {
    use wasip2::filesystem::preopens::get_directories;
    use wasip2::filesystem::types::{Descriptor, DescriptorFlags, DescriptorType, ErrorCode, OpenFlags, PathFlags};

    use super::{Entry, Kind};

    /// The name of the folder in the manifest.
    const NAME: &str = "/folder";
    /// Bytes that are read at once.
    const PIECE_BYTES: u64 = 256 << 10;

    pub(crate) struct Folder(Descriptor);

    impl Folder {
        pub(crate) fn open() -> Result<Self, String> {
            let found = get_directories().into_iter().find(|(_, name)| name == NAME);
            found.map(|(folder, _)| Self(folder)).ok_or_else(|| "no folder was granted to this plugin".to_owned())
        }

        /// The entries in the order of their names, without links.
        pub(crate) fn entries(&self, path: &str) -> Result<Vec<Entry>, String> {
            let wrong = |code| message(path, code);
            let opened = self.descriptor(path, OpenFlags::DIRECTORY)?;
            let stream = opened.read_directory().map_err(wrong)?;
            let mut entries = Vec::new();
            while let Some(entry) = stream.read_directory_entry().map_err(wrong)? {
                let stat = || opened.stat_at(PathFlags::empty(), &entry.name);
                match entry.type_ {
                    DescriptorType::Directory => entries.push(Entry { name: entry.name, kind: Kind::Folder, bytes: 0 }),
                    DescriptorType::RegularFile => {
                        let bytes = stat().map_or(0, |stat| stat.size);
                        entries.push(Entry { name: entry.name, kind: Kind::File, bytes });
                    }
                    _ => {}
                }
            }
            entries.sort_by(|a, b| a.name.cmp(&b.name));
            Ok(entries)
        }

        /// The content of a file.
        pub(crate) fn read(&self, path: &str, most: usize) -> Result<Vec<u8>, String> {
            let wrong = |code| message(path, code);
            let file = self.descriptor(path, OpenFlags::empty())?;
            let mut bytes = Vec::new();
            loop {
                let (piece, ended) = file.read(PIECE_BYTES, bytes.len() as u64).map_err(wrong)?;
                let is_last = ended || piece.is_empty();
                bytes.extend(piece);
                if bytes.len() > most {
                    return Err(format!("\"{path}\" has more than {most} bytes"));
                }
                if is_last {
                    return Ok(bytes);
                }
            }
        }

        fn descriptor(&self, path: &str, open: OpenFlags) -> Result<Descriptor, String> {
            let path = if path.is_empty() { "." } else { path };
            let opened = self.0.open_at(PathFlags::empty(), path, open, DescriptorFlags::READ);
            opened.map_err(|code| message(path, code))
        }
    }

    fn message(path: &str, code: ErrorCode) -> String {
        match code {
            ErrorCode::NoEntry => format!("there is no \"{path}\" in the folder"),
            ErrorCode::NotDirectory => format!("\"{path}\" is not a folder"),
            ErrorCode::IsDirectory => format!("\"{path}\" is a folder"),
            ErrorCode::Access | ErrorCode::NotPermitted | ErrorCode::Loop => format!("\"{path}\" cannot be read"),
            other => format!("\"{path}\" cannot be read: {}", other.message()),
        }
    }
}

#[cfg(not(target_arch = "wasm32"))]
mod in_tests {
    use std::cell::RefCell;
    use std::fs;
    use std::path::PathBuf;

    use super::{Entry, Kind};

    thread_local! {
        /// The folder of the test.
        pub(crate) static PLACE: RefCell<Option<PathBuf>> = const { RefCell::new(None) };
    }

    pub(crate) struct Folder(PathBuf);

    impl Folder {
        pub(crate) fn open() -> Result<Self, String> {
            let place = PLACE.with_borrow(Clone::clone);
            place.map(Self).ok_or_else(|| "no folder was granted to this plugin".to_owned())
        }

        pub(crate) fn entries(&self, path: &str) -> Result<Vec<Entry>, String> {
            let mut entries = Vec::new();
            for entry in fs::read_dir(self.0.join(path)).map_err(|error| format!("\"{path}\": {error}"))?.flatten() {
                let (name, file) = (entry.file_name().to_string_lossy().into_owned(), entry.metadata());
                let Ok(file) = file else { continue };
                let kind = if file.is_dir() { Kind::Folder } else { Kind::File };
                entries.push(Entry { name, kind, bytes: file.len() });
            }
            entries.sort_by(|a, b| a.name.cmp(&b.name));
            Ok(entries)
        }

        pub(crate) fn read(&self, path: &str, most: usize) -> Result<Vec<u8>, String> {
            let bytes = fs::read(self.0.join(path)).map_err(|_| format!("there is no \"{path}\" in the folder"))?;
            if bytes.len() > most { Err(format!("\"{path}\" has more than {most} bytes")) } else { Ok(bytes) }
        }
    }
}

#[cfg(test)]
pub(crate) use in_tests::PLACE;
