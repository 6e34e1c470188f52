//! What `make release` writes, and the workflows that publish it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::items;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const RELEASING: &str = include_str!("../../RELEASING.md");
const MAKEFILE: &str = include_str!("../../Makefile");

/// Runs the release's script on a module and a program that are two lines of text.
fn released(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    let [module, program] = ["a module", "a program"].map(|text| {
        let file = folder.join(text);
        fs::write(&file, text).unwrap();
        file
    });
    let dist = folder.join("dist");
    let script = Path::new(ROOT).join(".ci/release.py");
    let ended = Command::new("python3").args([&script, &module, &program, &dist]).output().unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    dist
}

#[test]
fn a_release_is_what_the_page_lists() {
    let dist = released("release");
    let text = |name: &str| fs::read_to_string(dist.join(name)).unwrap();
    let files = fs::read_dir(&dist).unwrap();
    let files = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let platform = |name: String| match name.strip_prefix("keyless-") {
        Some(_) => "keyless-linux-x86_64".to_owned(),
        None => name,
    };
    let files: BTreeSet<_> = files.map(platform).collect();
    let rows = RELEASING.lines().filter_map(|line| line.strip_prefix("| `"));
    let listed: BTreeSet<_> = rows.map(|row| row.split('`').next().unwrap().to_owned()).collect();
    assert_eq!(files, listed);
    assert_eq!(text("keyless.wasm"), "a module");
    assert_eq!(text("keyless.schema.json"), include_str!("../../keyless.schema.json"));
    let check = ["--check", "--strict", "--quiet", "SHA256SUMS"];
    let checked = Command::new("sha256sum").args(check).current_dir(&dist).status().unwrap();
    assert!(checked.success());
    assert_eq!(text("SHA256SUMS").lines().count(), files.len() - 1);
    assert!(include_str!("../../CHANGELOG.md").contains(text("NOTES.md").trim()));
    assert!(text("NOTES.md").contains("### Added"));
}

#[test]
fn the_bill_of_materials_has_what_is_in_the_module_and_nothing_of_the_tests() {
    let bill = fs::read_to_string(released("bill").join("keyless.cdx.json")).unwrap();
    let bill: Value = serde_json::from_str(&bill).unwrap();
    assert_eq!(bill["bomFormat"], "CycloneDX");
    assert_eq!(bill["metadata"]["component"]["name"], "keyless");
    let names: BTreeSet<_> =
        items(&bill["components"]).map(|one| one["name"].as_str().unwrap()).collect();
    for name in ["keyless-core", "proxy-wasm", "rsa", "serde_json"] {
        assert!(names.contains(name), "{name}");
    }
    for name in ["boon", "reqwest", "schemars", "tokio"] {
        assert!(!names.contains(name), "{name}");
    }
}

#[test]
fn every_make_target_of_the_workflows_is_there() {
    let targets: BTreeSet<_> = MAKEFILE.lines().filter_map(|line| line.split_once(':')).collect();
    let targets: BTreeSet<_> = targets.into_iter().map(|(name, _)| name).collect();
    let mut seen = 0;
    for name in ["ci", "nightly", "release"] {
        let file = Path::new(ROOT).join(format!(".github/workflows/{name}.yml"));
        let workflow: Value = serde_yaml_ng::from_str(&fs::read_to_string(file).unwrap()).unwrap();
        for job in workflow["jobs"].as_object().unwrap().values() {
            let matrix = items(&job["strategy"]["matrix"]["target"]).filter_map(Value::as_str);
            let commands = items(&job["steps"]).filter_map(|step| step["run"].as_str());
            let commands = commands.filter_map(|run| run.split_once("make ").map(|(_, rest)| rest));
            let plain = commands.filter(|rest| !rest.starts_with('$'));
            // Variables follow the target.
            let plain = plain.filter_map(|rest| rest.split_whitespace().next());
            for target in matrix.chain(plain) {
                assert!(targets.contains(target), "{name}: make {target}");
                seen += 1;
            }
        }
    }
    assert!(seen > 8, "only {seen}");
}
