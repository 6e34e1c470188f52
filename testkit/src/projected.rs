//! A folder whose files Kubernetes projects.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// Holds a folder with one file, which is replaced as the kubelet replaces it: a new folder for each
/// version, and the link `..data` to the present one, which is renamed over the last.
#[derive(Debug)]
pub struct Projected {
    folder: PathBuf,
    name: &'static str,
    version: u32,
}

impl Projected {
    /// Projects the first version of a file into a folder, which is made.
    pub fn new(folder: &Path, name: &'static str, contents: &[u8]) -> Self {
        fs::create_dir_all(folder).unwrap();
        let mut projected = Self { folder: folder.to_owned(), name, version: 0 };
        projected.replace(contents);
        symlink(Path::new("..data").join(name), projected.path()).unwrap();
        projected
    }

    /// Returns the path of the file.
    pub fn path(&self) -> PathBuf {
        self.folder.join(self.name)
    }

    /// Returns the folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Replaces the file by its next version.
    pub fn replace(&mut self, contents: &[u8]) {
        self.swap(|folder, name| fs::write(folder.join(name), contents).unwrap());
    }

    /// Replaces the file by none: its link leads nowhere.
    pub fn remove(&mut self) {
        self.swap(|_, _| ());
    }

    fn swap(&mut self, fill: impl FnOnce(&Path, &str)) {
        let last = format!("..version-{}", self.version);
        self.version += 1;
        let next = format!("..version-{}", self.version);
        let at = self.folder.join(&next);
        fs::create_dir(&at).unwrap();
        fill(&at, self.name);
        let new = self.folder.join("..data_tmp");
        symlink(&next, &new).unwrap();
        fs::rename(new, self.folder.join("..data")).unwrap();
        if self.version > 1 {
            fs::remove_dir_all(self.folder.join(last)).unwrap();
        }
    }
}
