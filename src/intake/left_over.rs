//! What a run that was killed left beside a file: the text that it had written and not yet put in its place.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

/// Removes such files, named `.NAME.PROCESS`, of processes that are no more. One whose number another process has by
/// now waits for a later run. What cannot be removed does no harm, and is let be.
pub(super) fn remove(target: &Path) {
    let (Some(dir), Some(name)) = (target.parent(), target.file_name().and_then(OsStr::to_str)) else {
        return;
    };
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let found = entry.file_name();
        let process = (found.to_str())
            .and_then(|found| found.strip_prefix('.')?.strip_prefix(name)?.strip_prefix('.'))
            .and_then(|process| process.parse::<u32>().ok());
        if process.is_some_and(|process| !Path::new(&format!("/proc/{process}")).exists()) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_killed_runs_left_is_removed_and_nothing_else() {
        let dir = std::env::temp_dir().join(format!("kylin-vr-left-over-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        // No process has this number: it is above the kernel's highest, PID_MAX_LIMIT.
        let own = format!(".file.{}", std::process::id());
        let stays = ["file", ".file", ".file.x", ".other.4194305", "file.4194305", &own];
        for name in stays.iter().chain(&[".file.4194305"]) {
            fs::write(dir.join(name), "").unwrap();
        }
        remove(&dir.join("file"));
        let mut left: Vec<_> = fs::read_dir(&dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        let mut stays = stays.map(str::to_owned);
        stays.sort();
        assert_eq!(left, stays);
        fs::remove_dir_all(&dir).unwrap();
    }
}
